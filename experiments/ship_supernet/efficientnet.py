"""EfficientNet-Lite0, distilled into its elastic form with its own 1,000 classes, becomes a supernet that is shipped.

``python -m experiments.ship_supernet.efficientnet PHOTOGRAPHS RUN`` (from the repository's root, with the extra
``pretrained``). PHOTOGRAPHS has ``train/``, ``val/`` and ``test/``, each with folders of images named so that they sort
as ImageNet's classes do; in ``val/`` and ``test/`` classes may be missing. All subnets learn from the outputs of the
network as it was published, at 224 pixels; labels are read for evaluation alone. A run that was cut off goes on with
the same command.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torchvision.models import EfficientNet_B0_Weights

import nas.shipped
from experiments.conditions import processor
from experiments.ship_supernet.__main__ import clock, ship
from experiments.ship_supernet.card import versions
from experiments.ship_supernet.evaluate import Table
from experiments.ship_supernet.synthesise import Synthesis
from latency_tables.files import write_text
from nas.data import ImageData, Split
from nas.evaluation.accuracy import evaluate, evaluate_on_test, evaluate_subnets
from nas.pipeline.initial import initial_supernet
from nas.progress import Listener
from nas.shipped.pretrained import DEFAULT, Pretrained, pretrained
from nas.supernet import Supernet
from nas.training import Phase, Recipe, train
from nas.training.augmentation import Flip, RandomResizedCrop
from nas.training.samplers import at_all_resolutions
from search_spaces import Population, SearchSpace, get_space

NAME = "imagenet"
SIDE, PHOTOGRAPH = 224, 160
"""Pixels that images are stored at; images with a shorter side below the second number are enlarged ones, whose
batch-norm statistics are not those of photographs."""


def recipe(batch_size: int, learning_rate: float, n_random: int) -> Recipe:
    """All subnets learn from the original alone; the max net at some resolution is among those of every step."""
    wide = Phase(name="max net at all resolutions", share=0.1, sampler="widest", target="external")
    return Recipe(
        name="distil",
        paper=(
            "Knowledge distillation: A good teacher is patient and consistent (CVPR 2022), "
            "https://arxiv.org/abs/2106.05237"
        ),
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=1e-5,
        zero_init_residuals=False,
        augmentation=(RandomResizedCrop(scale=(0.25, 1.0)), Flip()),
        phases=(wide, replace(wide, name="and its subnets", share=0.9, n_random=n_random, draw="budget")),
    )


ON_GPU, ON_CPU = recipe(256, 0.05, 3), recipe(20, 0.01, 2)
SYNTHESIS = Synthesis(images=64, side=112, subnets=60, real_images=256, steps=400)
TABLE = Table(spread=100, rounds=8, each=15)
LICENCE = "Apache-2.0, as the project and as the weights that the training began with; no photograph is contained"


def read_photographs(root: Path, card: Pretrained) -> tuple[ImageData, ImageData]:
    """The images at `SIDE` pixels; and the same with only those training images that are photographs of that size."""
    names = sorted(folder.name for folder in (root / "train").iterdir())
    classes = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    if len(names) != len(classes):
        raise ValueError(f"{root / 'train'} must have a folder for each of {len(classes)} classes, got {len(names)}")
    splits, large = {}, np.empty(0, dtype=np.int64)
    for split in ("train", "val", "test"):
        paths = sorted(path for path in (root / split).glob("*/*") if path.is_file())
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(_read, paths))
        images = torch.from_numpy(np.stack([pixels for pixels, _ in found])).permute(0, 3, 1, 2).contiguous()
        labels = torch.tensor([names.index(path.parent.name) for path in paths])
        splits[split] = Split(images, labels, tuple(str(path.relative_to(root)) for path in paths))
        if split == "train":
            large = np.flatnonzero([side >= PHOTOGRAPH for _, side in found])
    data = ImageData(
        name=NAME,
        classes=tuple(classes),
        mean=card.mean,
        std=card.std,
        train=splits["train"],
        validation=splits["val"],
        test=splits["test"],
    )
    return data, replace(data, train=data.train.take(large))


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Pixels of the centre square, and the shorter side of the file's image."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    return np.asarray(ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BILINEAR)), min(image.size)


def landmarks(space: SearchSpace) -> Population:
    """The max net, all widths at 4, and the min net, each at four resolutions."""
    widths = [gene.kind == "expansion" for gene in space.genes]
    narrow = np.where(widths, 1, space.max)
    by_resolution = [at_all_resolutions(space, row) for row in (space.max, narrow, space.min)]
    return space.canonical(
        np.concatenate([rows[np.linspace(len(rows) - 1, 0, 4).round().astype(int)] for rows in by_resolution])
    )


def accuracies(supernet: Supernet, data: ImageData) -> pd.DataFrame:
    """Of `landmarks`, on search-validation, batch-norm calibrated on photographs."""
    rows = landmarks(supernet.space)
    found = evaluate_subnets(supernet, rows, data)
    return pd.DataFrame(
        {
            "architecture": supernet.space.format(rows),
            "macs": supernet.space.costs(rows).macs,
            "validation_accuracy": found.round(4),
        }
    )


def make(
    photographs: Path,
    run: Path,
    out: Path,
    seconds: float,
    source: str,
    *,
    device: str = "cuda",
    recipe: Recipe = ON_GPU,
    synthesis: Synthesis = SYNTHESIS,
    table: Table = TABLE,
    space: SearchSpace | None = None,
    n_compared: int = 20,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Distil for `seconds`, and ship what comes out as the folder `out`."""
    card = pretrained(DEFAULT)
    data, of_photographs = read_photographs(photographs, card)
    say(
        f"{len(data.train):,} training images ({len(of_photographs.train):,} photographs), {len(data.validation):,} "
        f"for search-validation, {len(data.test):,} for the test"
    )
    space = space or get_space(card.space)
    supernet = initial_supernet(DEFAULT, space, seed)
    teacher = supernet.extract(space.max)
    machine = processor()
    if device.startswith("cuda"):
        machine = f"one {torch.cuda.get_device_name(device)}"
        torch.backends.cudnn.allow_tf32 = False  # accuracies as on a CPU
    teacher.to(device).eval()
    original = {"validation": evaluate(teacher, "validation", data), "test": evaluate_on_test(teacher, data)}
    say(f"the original at {teacher.resolution} pixels: {original}")
    before = run / "before.csv"
    if not before.is_file():
        as_published = initial_supernet(DEFAULT, space, seed).to(device)
        write_text(before, accuracies(as_published, of_photographs).to_csv(index=False))
    say(before.read_text(encoding="utf-8"))
    if not (run / nas.shipped.CARD).is_file():
        result = train(
            supernet,
            data,
            recipe,
            run,
            seed=seed,
            device=device,
            teacher=teacher,
            train_time=f"{seconds:.0f}s",
            most_epochs=10_000,
            evaluations=4,
            about={"data_settings": {"name": "folder", "seed": 0}},
            listener=Listener(say=say),
        )
        say(f"{result.steps} steps, {result.epochs:g} epochs, {result.seconds:.0f} s")
        write_text(run / "after.csv", accuracies(supernet, of_photographs).to_csv(index=False))
        say((run / "after.csv").read_text(encoding="utf-8"))
    ship(
        run,
        of_photographs,
        out,
        source=source,
        licence=LICENCE,
        machine=machine,
        synthesis=synthesis,
        table=table,
        n_compared=n_compared,
        device=device,
        half=True,
        facts={"original": {"title": card.title, **original, "published": card.imagenet_top1_percent / 100}},
        seed=seed,
        say=say,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.ship_supernet.efficientnet", description=__doc__)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("--minutes", type=float, default=5, help="of training (default: %(default)g)")
    parser.add_argument("--out", type=Path, default=nas.shipped.FOLDER / NAME, help="default: %(default)s")
    parser.add_argument("--source", required=True, help="of the photographs, for the card")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cuda-graphs", choices=["auto", "off"], default="off")
    parser.add_argument("--toy", action="store_true", help="tiny: to try the script")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not all((given.photographs / split).is_dir() for split in ("train", "val", "test")):
        parser.error(f"{given.photographs} must have the folders train, val and test")
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; add --device cpu")
    print(f"{versions()}, seed {given.seed}", flush=True)
    recipe = replace(ON_GPU if given.device.startswith("cuda") else ON_CPU, cuda_graphs=given.cuda_graphs)
    if given.toy:
        small = {
            "recipe": replace(recipe, batch_size=4),
            "synthesis": Synthesis(images=4, side=32, subnets=3, real_images=32, steps=2),
            "table": Table(spread=8, rounds=1, each=2, candidates=200),
            "space": get_space(pretrained(DEFAULT).space, resolutions=(96, 112)),
            "n_compared": 2,
        }
    make(
        given.photographs,
        given.run,
        given.out,
        60 * given.minutes,
        given.source,
        device=given.device,
        seed=given.seed,
        say=clock(),
        **(small if given.toy else {"recipe": recipe}),
    )


if __name__ == "__main__":
    main()
