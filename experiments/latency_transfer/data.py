"""The measured fleets and the splits that papers used; latencies in milliseconds.

The tables are those of HELP (https://github.com/HayeonLee/HELP), the splits those of HELP (NeurIPS 2021,
https://arxiv.org/abs/2106.08630) and NASFLAT (MLSys 2024, https://arxiv.org/abs/2403.02446).
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from predictors.latency import Measurements
from search_spaces import SearchSpace, get_space

SIMULATED = ("eyeriss", "fpga")
"""Columns that are outputs of simulators, not measurements."""


def data_folder() -> Path:
    """The folder ``latency`` of the shared data; a ValueError says how to name another one."""
    root = Path(os.environ.get("NAS_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data")) / "latency"
    if not root.is_dir():
        raise ValueError(f"the public latency tables are not at {root}; set NAS_SHARED_DATA to the folder above")
    return root


@dataclass(frozen=True)
class Fleet:
    """All measurements of one space: genotypes ``(n, n_genes)`` and milliseconds ``(n,)`` of each device."""

    space: SearchSpace
    population: np.ndarray
    latency_ms: dict[str, np.ndarray]
    usable: np.ndarray

    def measurements(self, device: str, rows: np.ndarray) -> Measurements:
        return Measurements(device, self.population[rows], self.latency_ms[device][rows])


def load_fleet(name: str) -> Fleet:
    """The fleet of ``nasbench201`` or ``fbnet``."""
    folder = data_folder() / name
    architectures = pd.read_csv(folder / "archs.csv")
    latency = pd.read_csv(folder / "help_latency_ms.csv")
    space = get_space(name)
    first, last = ("e10", "e32") if name == "nasbench201" else ("l0", "l21")
    population = space.from_values(architectures.loc[:, first:last].to_numpy())
    # A cell that passes nothing on takes next to no time on some devices: no percentage of it makes sense.
    usable = architectures.get("connected", pd.Series(np.ones(len(population)))).to_numpy().astype(bool)
    devices = {column: latency[column].to_numpy(dtype=np.float64) for column in latency.columns[1:]}
    return Fleet(space, population, devices, usable)


@dataclass(frozen=True)
class Split:
    """Devices to learn from and to test on; architectures ``0..n_train`` to learn and choose from, then the test's."""

    name: str
    space: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    n_train: int
    n_stop: int


_HELP_TRAIN = "1080ti_1 1080ti_32 1080ti_{b} silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"
_GPUS = "1080ti 2080ti titan_rtx titanx titanxp"


def _nasbench201(name: str, train: str, test: str) -> Split:
    return Split(name, "nasbench201", tuple(train.split()), tuple(test.split()), 900, 1900)


def _fbnet(name: str, train: str, test: str) -> Split:
    return Split(name, "fbnet", tuple(train.split()), tuple(test.split()), 4000, 5000)


SPLITS = {
    split.name: split
    for split in (
        _nasbench201("nasbench201", _HELP_TRAIN.format(b=256), "titan_rtx_256 gold_6226 fpga pixel2 raspi4 eyeriss"),
        _nasbench201("N1", "eyeriss pixel3", "1080ti_1 titan_rtx_32 titanxp_1 2080ti_32 titan_rtx_1"),
        _nasbench201("N2", "1080ti_1 1080ti_32 titanx_32 titanxp_1 titanxp_32", "pixel3"),
        _nasbench201("N3", "eyeriss", "1080ti_1 2080ti_1 titanxp_1 2080ti_32 titanxp_32"),
        _nasbench201("N4", "eyeriss pixel2", "1080ti_1 2080ti_1 titan_rtx_1"),
        _nasbench201(
            "NA",
            " ".join(f"{gpu}_{batch}" for gpu in _GPUS.split() for batch in (1, 32))
            + " gold_6226 gold_6240 silver_4114 silver_4210r samsung_s7 samsung_a50 pixel2",
            "eyeriss",
        ),
        _fbnet("fbnet", _HELP_TRAIN.format(b=64), "fpga raspi4 eyeriss pixel2 titan_rtx_64 gold_6226"),
        _fbnet(
            "F1",
            "2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32",
            "eyeriss fpga raspi4 samsung_a50 samsung_s7",
        ),
        _fbnet(
            "F2",
            "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4",
            "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
        ),
        _fbnet(
            "F3",
            "essential_ph_1 pixel2 pixel3 raspi4 samsung_s7",
            "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
        ),
        _fbnet(
            "F4",
            "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r titan_rtx_1 titan_rtx_32",
            "1080ti_1 pixel2 essential_ph_1",
        ),
        _fbnet(
            "FA",
            " ".join(f"{gpu}_{batch}" for gpu in _GPUS.split() for batch in (1, 32, 64)),
            "gold_6226 essential_ph_1 samsung_s7 pixel2",
        ),
    )
}
INCOMPLETE = {
    "N1": "2 of 5, 5 of 5",
    "N2": "5 of 5, 1 of 5",
    "N3": "1 of 5, 5 of 5",
    "N4": "2 of 10, 3 of 3",
    "NA": "17 of 17, 1 of 3",
}
"""NASFLAT's sets of NAS-Bench-201 name devices that are not in the public tables: training and test devices at hand."""
FBNET_THREE = ("fpga", "raspi4", "eyeriss")
"""The FBNet test devices of HELP's own table."""
