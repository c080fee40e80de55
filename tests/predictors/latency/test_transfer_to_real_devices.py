"""The bars of the study, on the measured fleets, with one pool of candidates."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from predictors.held_out import LatencyErrors, latency_errors
from predictors.latency import LatencyPredictor, Measurements
from search_spaces import get_space

TRAIN = "1080ti_1 1080ti_32 1080ti_{} silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 samsung_s7"


def transfer(
    folder: Path, genes: tuple[str, str], train: str, test: list[str], n: int, n_train: int
) -> dict[str, LatencyErrors]:
    architectures = pd.read_csv(folder / "archs.csv")
    latency = pd.read_csv(folder / "help_latency_ms.csv")
    space = get_space(folder.name)
    population = space.from_values(architectures.loc[:, genes[0] : genes[1]].to_numpy())
    connected = architectures.get("connected", pd.Series(np.ones(len(population)))).to_numpy().astype(bool)
    learn = np.flatnonzero(connected[:n_train])
    held_out = n_train + np.flatnonzero(connected[n_train : n_train + 1000])
    fleet = [Measurements(d, population[learn], latency[d].to_numpy()[learn]) for d in train.split()]
    predictor = LatencyPredictor(space).fit(fleet)
    pool = np.random.default_rng(0).permutation(learn)[:600]
    measured = pool[predictor.suggest(population[pool], n)]
    errors = {}
    for device in test:
        target = latency[device].to_numpy()
        predictor.adapt(population[measured], target[measured])
        errors[device] = latency_errors(target[held_out], *predictor.predict(population[held_out], return_std=True))
    return errors


@pytest.mark.parametrize(
    ("n", "rank", "mape", "within_10"), [(5, 0.918, 0.113, 0.69), (10, 0.948, 0.060, 0.82)], ids=["HELP with 20", "ten"]
)
def test_nasbench201(shared_data: Path, n: int, rank: float, mape: float, within_10: float) -> None:
    devices = ["titan_rtx_256", "gold_6226", "fpga", "pixel2", "raspi4", "eyeriss"]
    folder = shared_data / "latency" / "nasbench201"
    errors = transfer(folder, ("e10", "e32"), TRAIN.format(256), devices, n, 900).values()
    assert np.mean([e.spearman_trimmed for e in errors]) > rank
    assert np.mean([e.mape for e in errors]) < mape
    assert np.mean([e.within_10 for e in errors]) > within_10


def test_fbnet(shared_data: Path) -> None:
    devices = ["fpga", "raspi4", "eyeriss", "pixel2", "titan_rtx_64", "gold_6226"]
    errors = transfer(shared_data / "latency" / "fbnet", ("l0", "l21"), TRAIN.format(64), devices, 10, 4000)
    assert np.mean([errors[d].spearman_trimmed for d in devices[:3]]) > 0.94
    assert np.mean([e.spearman_trimmed for e in errors.values()]) > 0.90
    assert np.mean([e.mape for e in errors.values()]) < 0.042
    assert 0.60 <= np.mean([e.within_one_sigma for e in errors.values()]) <= 0.79
    assert np.mean([e.within_two_sigma for e in errors.values()]) > 0.92


def test_launch_bound_gpus_are_learnt_from_phones_and_processors(shared_data: Path) -> None:
    devices = ["1080ti_1", "1080ti_32", "2080ti_32", "titan_rtx_1", "titanxp_1"]
    train = "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4"
    errors = transfer(shared_data / "latency" / "fbnet", ("l0", "l21"), train, devices, 20, 4000).values()
    assert np.mean([e.spearman for e in errors]) > 0.91
