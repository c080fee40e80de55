"""Decide on training devices: ``python -m experiments.latency_transfer.left_out``.

Every training device of every split plays the unseen device: alone, without its family (all batch sizes of one GPU,
server processors, ...) and without its kind (GPU, CPU, phone, board, accelerator) in the fleet. Priors and variants
of the predictor are judged by these errors alone. What one set of FBNet trains on, another tests (README). FA has one
kind only; there batch 1 is told from more.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from collections.abc import Iterator  # noqa: E402
from dataclasses import dataclass, replace  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from experiments.latency_transfer.data import INCOMPLETE, SPLITS, Split, load_fleet  # noqa: E402
from experiments.latency_transfer.report import ERRORS, save_table  # noqa: E402
from experiments.latency_transfer.run import NEEDED, adapt_all  # noqa: E402
from predictors.latency import LatencyPredictor  # noqa: E402

COUNTS, SEEDS, LEAST_FLEET = (3, 5, 10, 20), 1, 2
N_SOURCE_NETWORKS, N_HELD_OUT = 1000, 400
KINDS = {"gpu": ("1080ti", "2080ti", "titan"), "cpu": ("silver", "gold"), "phone": ("pixel", "essential", "samsung")}


def kind_of(device: str) -> str:
    """What sort of device it is; a device of no known sort is its own."""
    return next((kind for kind, names in KINDS.items() if device.startswith(names)), device)


def family_of(device: str) -> str:
    """Devices that are nearly the same one."""
    kind = kind_of(device)
    return device.rpartition("_")[0] if kind == "gpu" else "cpu" if kind == "cpu" else device


@dataclass(frozen=True)
class LeftOut:
    """Devices of a training fleet that play the unseen ones together, and what was left out with them."""

    split: Split
    what: str


def left_out(split: Split) -> Iterator[LeftOut]:
    """Every device, family and kind of a training fleet in turn, each set of devices once."""
    groups: dict[tuple[str, frozenset[str]], None] = {}
    for device in split.train:
        family = frozenset(d for d in split.train if family_of(d) == family_of(device))
        kind = frozenset(d for d in split.train if kind_of(d) == kind_of(device))
        if len(kind) == len(split.train):
            kind = frozenset(d for d in split.train if d.endswith("_1") == device.endswith("_1"))
        if len(family) > 1:
            groups[("device", frozenset([device]))] = None
        groups[("family", family)] = None
        if kind != family:
            groups[("kind", kind)] = None
    for what, devices in groups:
        rest = tuple(d for d in split.train if d not in devices)
        test = tuple(d for d in split.train if d in devices)
        if len(rest) >= LEAST_FLEET:
            start = split.n_train - N_HELD_OUT  # not even the test architectures are looked at
            yield LeftOut(replace(split, train=rest, test=test, n_train=start, n_stop=split.n_train), what)


def evaluate() -> pd.DataFrame:
    """One row for each left-out device, n and seed."""
    # NASFLAT's sets of NAS-Bench-201 learn from devices that other sets test. So do those of FBNet, which are kept:
    # without them there are two fleets to decide on.
    splits = [split for split in SPLITS.values() if split.name not in INCOMPLETE]
    fleets = {space: load_fleet(space) for space in {split.space for split in splits}}
    rows = []
    for split in splits:
        fleet = fleets[split.space]
        learn = np.flatnonzero(fleet.usable[: split.n_train - N_HELD_OUT])[:N_SOURCE_NETWORKS]
        everything = LatencyPredictor(fleet.space).fit([fleet.measurements(device, learn) for device in split.train])
        for case in left_out(split):
            known = everything.for_new_device(without=case.split.test)
            found = adapt_all(fleet, known, case.split, COUNTS, SEEDS, methods=("fleet", "alone"))
            rows += [{**row, "without": case.what} for row in found]
    return pd.DataFrame(rows)


def by_device(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of what the intervals of each left-out device hold, and of the errors."""
    keys = ["method", "n", "split", "without", "device"]
    return rows.groupby(keys)[[*ERRORS, NEEDED, "claimed_over_true", "doubted"]].mean().reset_index()


def intervals(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of networks within the intervals, of the mean device, and how far devices lie from the right width."""
    rows = rows[rows["method"] == "fleet"]
    devices = by_device(rows)
    logarithm = np.log(rows[NEEDED])
    table = devices.groupby("n")[["within_one_sigma", "within_two_sigma"]].mean()
    table["claimed_over_true_median"] = devices.groupby("n")["claimed_over_true"].median()
    table["doubted"] = (rows["doubted"] > 0).groupby(rows["n"]).mean()
    table["log_needed_mean"] = logarithm.groupby(rows["n"]).mean()
    table["log_needed_sd"] = logarithm.groupby(rows["n"]).std()
    return table.round(4).reset_index()


def main() -> None:
    """Write and print the errors."""
    rows = evaluate()
    table = rows.groupby(["split", "without", "method", "n"])[ERRORS].mean().round(4).reset_index()
    results = Path(__file__).parent / "results"
    save_table(results / "left_out.csv", table)
    save_table(results / "left_out_devices.csv", by_device(rows).round(4))
    print(table.to_string(index=False))
    print(intervals(rows).to_string(index=False))


if __name__ == "__main__":
    main()
