"""What augmentation brings on photographs: ``python -m experiments.photographs.augmentation IMAGES``.

IMAGES is a folder of photographs, or a tar file of one; the study is made for TrashNet at 96 pixels. A supernet of
`mobilenet_v3`, or its min net alone, is trained from random weights with each list of augmentations and each seed, all
for the same time. A finished training is a few lines of ``results/augmentation.csv``; one that was stopped goes on from
its checkpoint when the command is typed again.
"""

import argparse
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.conditions import differing, made_on, write_facts
from latency_tables.files import write_text
from nas.cli.console import track
from nas.data import DataSettings, ImageData, load_data
from nas.evaluation import evaluate, evaluate_on_test, evaluate_subnets, evaluate_subnets_on_test
from nas.progress import Listener
from nas.supernet import Subnet, Supernet
from nas.training import Phase, Recipe, make_supernet, train
from nas.training.augmentation import (
    Augmentation,
    ColorJitter,
    CutMix,
    Flip,
    PadCrop,
    RandomErasing,
    RandomResizedCrop,
    TrivialAugment,
)
from nas.training.duration import parse_duration
from search_spaces import get_space

RESULTS = Path(__file__).with_name("results")
SIDE = 96
CROPS = (RandomResizedCrop(), Flip())
LISTS: dict[str, tuple[Augmentation, ...]] = {
    "shift and mirror": (PadCrop(padding=SIDE // 8), Flip()),
    "crops": CROPS,
    "crops, colours": (*CROPS, ColorJitter()),
    "crops, TrivialAugment": (*CROPS, TrivialAugment()),
    "crops, TrivialAugment, erasing": (*CROPS, TrivialAugment(), RandomErasing()),
    "crops, CutMix": (*CROPS, CutMix(probability=0.5)),
}
"""The first is what all recipes have at 32 pixels, an eighth of the side in each direction."""


def images_of(path: Path, work: Path) -> Path:
    """The folder of the images; a tar file is unpacked below `work` first."""
    if path.is_dir():
        return path
    target = work / "images"
    if not target.is_dir():
        partial = target.with_suffix(".partial")
        with tarfile.open(path) as archive:
            archive.extractall(partial, filter="data")
        partial.rename(target)
    (top,) = [entry for entry in target.iterdir() if entry.is_dir()]
    return top


def judged(net: Supernet | Subnet, data: ImageData, n_random: int) -> list[dict[str, Any]]:
    """Accuracy of the networks: of a supernet the largest, the smallest and random ones, or of the one alone."""
    space = net.space
    if isinstance(net, Subnet):
        chosen = {"alone": net.genotype}
        validation, test = [evaluate(net, "validation", data)], [evaluate_on_test(net, data)]
    else:
        random = space.sample(n_random, np.random.default_rng(0))
        chosen = {"max": space.max, "min": space.min} | {f"random {i + 1}": row for i, row in enumerate(random)}
        rows = np.stack(list(chosen.values()))
        validation = evaluate_subnets(net, rows, data).tolist()
        test = evaluate_subnets_on_test(net, rows, data).tolist()
    macs = space.costs(np.stack(list(chosen.values()))).macs.tolist()
    columns = zip(chosen, macs, validation, test, strict=True)
    return [
        {"network": name, "macs": n, "validation_accuracy": round(v, 4), "test_accuracy": round(t, 4)}
        for name, n, v, t in columns
    ]


def perform(
    of: str, name: str, seed: int, data: ImageData, folder: Path, train_time: str, threads: int, n_random: int
) -> list[dict[str, Any]]:
    """Train with one list of augmentations, or go on with it, and judge; the lines of the table."""
    space = get_space("mobilenet_v3", resolutions=(SIDE,), num_classes=len(data.classes))
    recipe = replace(Recipe(), augmentation=LISTS[name])
    net: Supernet | Subnet = make_supernet(space, recipe, seed)
    if of == "min":
        recipe = replace(recipe, name="alone", phases=(Phase(name="alone", share=1.0),))
        torch.manual_seed(seed)
        net = Subnet(space, space.min)
        net.zero_init_residuals()
    listener = Listener(say=lambda sentence: print(f"{of}, {name}, seed {seed}: {sentence}", flush=True), track=track)
    result = train(
        net, data, recipe, folder, seed=seed, threads=threads, device="cpu", precision="float32",
        evaluations=1, train_time=train_time, listener=listener,
    )  # fmt: skip
    about = {"trained": of, "augmentation": name, "seed": seed, "epochs": result.epochs}
    return [about | {"seconds": round(result.seconds)} | row for row in judged(net, data, n_random)]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy in percent of each list of augmentations, the seeds' mean, and how far the seeds are apart."""
    sizes = rows.assign(network=rows["network"].str.replace(r" \d+$", "", regex=True))
    keys = ["trained", "augmentation"]
    by_seed = sizes.groupby([*keys, "network", "seed"], sort=False)["test_accuracy"].mean() * 100
    grouped = by_seed.groupby([*keys, "network"], sort=False)
    apart = (grouped.max() - grouped.min()).round(1)
    epochs = sizes.groupby([*keys, "network"], sort=False)["epochs"].mean().round(1)
    table = pd.DataFrame({"test %": grouped.mean().round(1), "seeds apart": apart, "epochs": epochs})
    return table.reset_index().sort_values(["trained", "network", "test %"], ascending=[True, True, False])


def main() -> None:
    """Train what is not in the table yet; print the table and under which conditions it came about."""
    parser = argparse.ArgumentParser(prog="python -m experiments.photographs.augmentation", description=__doc__)
    parser.add_argument("images", type=Path, help="folder of photographs, or a tar file of one")
    parser.add_argument("--of", choices=("supernet", "min"), default="supernet", help="what is trained: a supernet "
                        "(default) or the min net alone, which has many more epochs in the same time")  # fmt: skip
    parser.add_argument("--train-time", default="10min", help="of each training (default %(default)s)")
    parser.add_argument("--seeds", default="0,1", help="with commas between (default %(default)s)")
    numbered = "; ".join(f"{i} {name}" for i, name in enumerate(LISTS))
    parser.add_argument("--lists", default=",".join(map(str, range(len(LISTS)))), help=f"by number: {numbered}")
    parser.add_argument("--random", type=int, default=6, help="random networks judged besides max and min")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    words = parser.parse_args()
    parse_duration(words.train_time)
    if not words.images.exists():
        parser.error(f"{words.images} does not exist")
    names = [list(LISTS)[int(number)] for number in words.lists.split(",")]
    words.out.mkdir(parents=True, exist_ok=True)
    root = str(images_of(words.images, words.out))
    data = load_data(DataSettings(name="folder", root=root, resolution=SIDE), Listener(say=print))
    table = words.out / "augmentation.csv"
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    same = {"train_time": words.train_time, "fingerprint": data.fingerprint, "made_on": made_on("torch")}
    begun = words.out / "conditions.json"
    if differ := differing(begun, same):
        parser.error(f"{table} was made with {', '.join(differ)}; name another folder by --out")
    facts = same | {
        "space": f"mobilenet_v3 at {SIDE} pixels",
        "images": {name: len(getattr(data, name)) for name in ("train", "validation", "test")},
        "augmentation": {name: [entry.as_dict() for entry in entries] for name, entries in LISTS.items()},
        "threads": words.threads,
    }
    if not begun.is_file():
        write_facts(begun, facts)
    for seed in map(int, words.seeds.split(",")):
        for name in names:
            if any((row["trained"], row["augmentation"], row["seed"]) == (words.of, name, seed) for row in rows):
                continue
            folder = words.out / "runs" / f"{words.of}_{name.replace(', ', '-').replace(' ', '-')}_seed{seed}"
            rows += perform(words.of, name, seed, data, folder, words.train_time, words.threads, words.random)
            write_text(table, pd.DataFrame(rows).to_csv(index=False))
            print(summary(pd.DataFrame(rows)).to_string(index=False), flush=True)
    print(summary(pd.DataFrame(rows)).to_string(index=False))


if __name__ == "__main__":
    main()
