"""Training on a GPU, checked, timed and done within stated minutes: ``python -m experiments.training_speed.gpu``.

Parts, in this order: ``check`` (recorded steps against plain ones), ``step`` (milliseconds of a sandwich of four),
``evaluation`` (seconds of one subnet), ``supernet`` and ``alone-...`` (the CIFAR-10 study of DεpS's space: the
supernet, and three of its networks trained alone on the same images). Each part writes its files into the folder when
it is done; a part whose file is there is not done again, and a training that was cut off goes on from its checkpoint.
With ``--device cpu`` everything is at toy size (scikit-learn's digits for CIFAR-10), to try the script.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.conditions import machine, processor
from experiments.training_speed.sandwich import SEED, Place, agreement, deps_space, milliseconds, trainer, works
from experiments.training_speed.work import noise
from latency_tables.files import write_text
from nas.data import DataSettings, ImageData, load_data
from nas.evaluation import evaluate_on_test, evaluate_subnets_on_test
from nas.supernet import Subnet
from nas.training import Phase, Recipe, load_recipe, make_supernet, read_log, train
from nas.training.augmentation import Flip, PadCrop
from search_spaces import Population, SearchSpace, get_space

SHARES = {"supernet": 0.55, "alone-min": 0.12, "alone-middle": 0.15, "alone-max": 0.18}
"""Of the time that is left for trainings when they are planned; `RESERVE` of it is for what they do besides steps."""
RESERVE = 0.15
SIZES = 5


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes
    ----------
    batches : images a step, where steps are timed.
    rounds : of timing.
    check_steps, check_batch : of the comparison of recorded and plain steps.
    train_batch, learning_rate : of the trainings.
    """

    batches: tuple[int, ...]
    rounds: int
    check_steps: int
    check_batch: int
    train_batch: int
    learning_rate: float


FULL = Size((128, 512), 30, 20, 128, 512, 0.3)
TOY = Size((2,), 1, 1, 2, 64, 0.1)


class Session:
    """One call of the script: where it runs, until when, and where its results go."""

    def __init__(self, place: Place, size: Size, minutes: float, out: Path, data: Path | None) -> None:
        self.place, self.size, self.out, self.root = place, size, out, data
        self.end = perf_counter() + 60 * minutes

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - perf_counter()

    @property
    def toy(self) -> bool:
        """Whether everything is at toy size."""
        return self.size is TOY

    def space(self) -> SearchSpace:
        """Of the trainings."""
        return get_space("mobilenet_v3_small_images", resolutions=(16,)) if self.toy else deps_space()

    def images(self) -> ImageData:
        """CIFAR-10 as JPEG, a tenth of the training images for validation; digits at toy size."""
        if self.root is None:
            return load_data(DataSettings("digits", resolution=16))
        return load_data(DataSettings("folder", str(self.root), resolution=32, validation_fraction=0.1))

    def write(self, name: str, result: Any) -> None:
        """Keep a part's result: a table as CSV, the rest as JSON."""
        text = result.to_csv(index=False) if isinstance(result, pd.DataFrame) else json.dumps(result, indent=1) + "\n"
        write_text(self.out / name, text)
        print(f"{name} ({self.left:.0f} s are left)\n{text}", flush=True)


def check(session: Session) -> dict[str, Any]:
    """In float32 and, on a GPU, in bfloat16."""
    device = session.place.device
    precisions = {"float32": False} | ({"bfloat16": True} if device.type == "cuda" else {})
    size = session.size
    return {
        name: agreement(Place(device, bfloat16), size.check_batch, size.check_steps)
        for name, bfloat16 in precisions.items()
    }


def step(session: Session) -> pd.DataFrame:
    """Medians and quartiles, batch by batch; at most a third of the time that is left."""
    rows = []
    until = perf_counter() + session.left / 3
    for i, batch in enumerate(session.size.batches, 1):
        share = perf_counter() + (until - perf_counter()) / (len(session.size.batches) - i + 1)
        found = milliseconds(session.place, works(session.place, batch), session.size.rounds, share)
        for name, times in found.items():
            low, middle, high = np.percentile(times, (25, 50, 75)).round(2).tolist()
            rows.append({"batch": batch, "work": name, "ms": middle, "p25": low, "p75": high, "rounds": len(times)})
    return pd.DataFrame(rows)


def evaluation(session: Session) -> dict[str, Any]:
    """Seconds to calibrate and evaluate one subnet on 10,000 images (200 at toy size), the median of three."""
    n = 200 if session.toy else 10_000
    data = noise(n, 32, 10)
    made = trainer(session.place, replace(data, test=data.train), session.size.batches[0], pooled=False)
    assert not isinstance(made.network, Subnet)
    space, seconds = made.network.space, []
    for row in space.sample(1 if session.toy else 4, np.random.default_rng(SEED)):
        session.place.wait()
        began = perf_counter()
        evaluate_subnets_on_test(made.network, row[None], made.data)
        seconds.append(perf_counter() - began)
    return {"images": n, "seconds": round(float(np.median(seconds[-3:])), 3)}


def recipe(session: Session, name: str) -> Recipe:
    """The default recipe at the study's batch; its learning rate at batch 512 is a guess."""
    size = session.size
    chosen = replace(
        load_recipe("delayed_sandwich"),
        batch_size=size.train_batch,
        learning_rate=size.learning_rate,
        augmentation=(PadCrop(padding=4), Flip()),
        cuda_graphs="auto",
    )
    return chosen if name == "supernet" else replace(chosen, name="alone", phases=(Phase(name="alone", share=1.0),))


def five_sizes(space: SearchSpace) -> Population:
    """The min net, the max net, and three random ones at even steps of MACs between them."""
    drawn = space.sample(2000, np.random.default_rng(SEED), tilt=1.5)
    macs = space.costs(drawn).macs
    least, most = space.costs(np.stack([space.min, space.max])).macs.tolist()
    wanted = np.linspace(least, most, SIZES)[1:-1]
    between = [drawn[np.abs(macs - some).argmin()] for some in wanted]
    return space.canonical(np.stack([space.min, *between, space.max]))


def training(session: Session, name: str, data: ImageData, seconds: int) -> pd.DataFrame:
    """Train (or go on training) one of `SHARES`; the test accuracies of its networks."""
    space, chosen = session.space(), recipe(session, name)
    rows = five_sizes(space)
    folder = session.out / "runs" / name
    if name == "supernet":
        network: Any = make_supernet(space, chosen, SEED)
    else:
        torch.manual_seed(SEED)
        rows = rows[[{"alone-min": 0, "alone-middle": SIZES // 2, "alone-max": SIZES - 1}[name]]]
        network = Subnet(space, rows[0])
        network.initialise()
        network.zero_init_residuals()  # as the supernet has it
    settings: dict[str, Any] = {"device": str(session.place.device), "train_time": f"{seconds}s", "evaluations": 8}
    try:
        result = train(network, data, chosen, folder, seed=SEED, most_epochs=300, **settings)
    finally:  # also where it is cut off
        if (folder / "log.jsonl").is_file():
            session.write(f"curve_{name}.csv", pd.DataFrame(map(_flat, read_log(folder))))
    accuracy = (
        evaluate_subnets_on_test(network, rows, data).tolist()
        if name == "supernet"
        else [evaluate_on_test(network, data)]
    )
    macs = space.costs(rows).macs.tolist()
    return pd.DataFrame(
        {
            "training": name,
            "architecture": space.format(rows),
            "macs": macs,
            "test_accuracy": np.round(accuracy, 4),
            "epochs": result.epochs,
            "steps": result.steps,
            "seconds": round(result.seconds, 1),
            "images": data.name if session.toy else "CIFAR-10 (JPEG)",
        }
    )


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    """A record of the log as one row."""
    validation = {f"validation_{role}": value for role, value in record.get("validation", {}).items()}
    return {key: value for key, value in record.items() if key != "validation"} | validation


def conditions(session: Session) -> dict[str, Any]:
    """What a reader must know of the machine."""
    device = session.place.device
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else processor(),
        "cuda": torch.version.cuda if on_gpu else None,
        **machine("torch", "numpy", "ofa"),
        "bfloat16": session.place.bfloat16,
        "seed": SEED,
        "toy": session.toy,
    }


def planned(session: Session) -> dict[str, int]:
    """Seconds of each training, chosen once and kept, so that one that was cut off goes on to the same length."""
    path = session.out / "plan.json"
    if path.is_file():
        plan: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        return plan
    plan = {name: max(1, int(share * (1 - RESERVE) * session.left)) for name, share in SHARES.items()}
    session.write(path.name, plan)
    return plan


def perform(session: Session) -> None:
    """All parts that are not done yet, while there is time."""
    session.write("conditions.json", conditions(session))
    parts: dict[str, Callable[[], Any]] = {
        "check.json": lambda: check(session),
        "step.csv": lambda: step(session),
        "evaluation.json": lambda: evaluation(session),
    }
    for name, part in parts.items():
        if not (session.out / name).is_file():
            session.write(name, part())
    began = perf_counter()
    data = session.images()
    print(f"images read in {perf_counter() - began:.1f} s", flush=True)
    for name, seconds in planned(session).items():
        if (session.out / f"accuracy_{name}.csv").is_file():
            continue
        if session.left < 5:
            print(f"no time is left for {name}: type the same command again to go on", flush=True)
            return
        try:
            session.write(f"accuracy_{name}.csv", training(session, name, data, seconds))
        except ValueError as error:  # too short a time for an epoch, for one
            print(f"{name}: {error}", flush=True)


def main() -> None:
    """Read the command line and perform."""
    parser = argparse.ArgumentParser(prog="python -m experiments.training_speed.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: toy size")
    parser.add_argument("--minutes", type=float, default=13, help="to spend, all parts together (default 13)")
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10 as JPEG, with train/<class> and test/<class>")
    parser.add_argument("--out", type=Path, help="results (default runs/training_speed_<device>)")
    given = parser.parse_args()
    if not 0 < given.minutes < float("inf"):
        parser.error(f"--minutes must be more than 0, got {given.minutes:g}")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device; try the script with --device cpu")
    if given.device == "cuda" and given.data is None:
        parser.error("--data is needed: a folder of CIFAR-10 as JPEG")
    out = given.out or Path("runs") / f"training_speed_{given.device}"
    out.mkdir(parents=True, exist_ok=True)
    on_gpu = given.device == "cuda"
    place = Place(torch.device(given.device), bfloat16=on_gpu)
    perform(Session(place, FULL if on_gpu else TOY, given.minutes, out, given.data if on_gpu else None))


if __name__ == "__main__":
    main()
