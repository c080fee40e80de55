"""Six recipes at equal cost on CIFAR-10, against the same networks trained alone.

``python -m experiments.recipes_cifar10`` (from the repository's root) performs the runs that `results/` lacks, one
after another, each resumed where it was killed; several may go on at the same time with different ``--only``.
"""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import logging  # noqa: E402
import tarfile  # noqa: E402
import tempfile  # noqa: E402
from fnmatch import fnmatch  # noqa: E402
from pathlib import Path  # noqa: E402

import torch  # noqa: E402

from experiments.conditions import made_on  # noqa: E402
from experiments.recipes_cifar10.results import done, record, summarise  # noqa: E402
from experiments.recipes_cifar10.runs import all_runs, perform  # noqa: E402
from nas.data import DataSettings, load_data  # noqa: E402

ROOT = Path(__file__).parents[2]
ARCHIVE = Path(os.environ.get("NAS_SHARED_DATA", ROOT.parent / "shared" / "data")) / "cifar10-jpeg.tar.xz"
"""Image folders ``train/<class>`` and ``test/<class>``, 32 x 32 JPEG."""

logger = logging.getLogger(__name__)


def unpacked(archive: Path, work: Path) -> Path:
    """The folder with ``train`` and ``test`` of `archive`, unpacked below `work` once."""
    if archive.is_dir():
        return archive
    if not archive.is_file():
        raise SystemExit(
            f"there is no CIFAR-10 at {archive}; give --data FOLDER with train/ and test/, or --data ARCHIVE"
        )
    folder = work / "cifar10"
    if not folder.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=work) as partial, tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
            found = next(path.parent for path in sorted(Path(partial).rglob("train")) if path.is_dir())
            found.rename(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.recipes_cifar10", description=__doc__)
    parser.add_argument("--budget", type=float, default=3, help="of a run, in epochs of the max net (default 3)")
    parser.add_argument("--seeds", type=int, default=1, help="how many (default 1)")
    parser.add_argument("--only", nargs="+", default=["*"], help="runs, as in 'recipe-ofa-*' (default all)")
    parser.add_argument("--data", type=Path, default=ARCHIVE, help="archive or folder of CIFAR-10 as JPEG")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "recipes_cifar10", help="checkpoints go here")
    parser.add_argument("--summary", action="store_true", help="only tables and figure, of what there is")
    given = parser.parse_args()
    if not given.budget > 0:
        parser.error(f"--budget must be more than 0 epochs of the max net, got {given.budget:g}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    print(made_on("torch", "numpy"))
    work = given.work / f"budget{given.budget:g}"
    data = None
    for run in (run for seed in range(given.seeds) for run in all_runs(seed)):
        if given.summary or not any(fnmatch(run.label, pattern) for pattern in given.only):
            continue
        if done(run, given.budget):
            logger.info("%s is done", run.label)
            continue
        data = data or load_data(
            DataSettings("folder", str(unpacked(given.data, given.work)), resolution=32, validation_fraction=0.1)
        )
        logger.info("%s begins", run.label)
        record(*perform(run, data, work / run.label, given.budget))
        logger.info("%s is done", run.label)
    print(summarise(given.budget))


if __name__ == "__main__":
    main()
