"""How well could intervals fit each device? ``python -m experiments.latency_transfer.simulated``.

Devices are drawn from the predictor's own prior (its groups of features, its noise with Student's t), so its model of
them is right, and what is missed of the goal for shares within one and two deviations is due to what ten
measurements leave open, and to the approximations of the fit. A narrower prior that is true of all devices, or a fit
without approximations, might do better; another model with a prior as wide should not be expected to.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from experiments.latency_transfer.data import SPLITS, Split, load_fleet  # noqa: E402
from experiments.latency_transfer.report import save_table  # noqa: E402
from experiments.latency_transfer.run import N_CANDIDATES  # noqa: E402
from predictors.latency import LatencyPredictor  # noqa: E402
from predictors.latency.predictor import DEGREES_OF_FREEDOM, LEAST_RELATIVE, NOISE  # noqa: E402

DEVICES, MEASURED, HELD_OUT, SEED = 200, 10, 400, 0
FLEETS = ("nasbench201", "fbnet", "F1", "FA")
LEAST, MOST_NOISE = 0.1, 0.3
"""Drawn devices that take less than a tenth of the average for some network, or are noisier, are drawn again."""
LOWEST, HIGHEST, WITHIN_TWO = 0.60, 0.76, 0.93
"""The goal for the mean of a set of devices."""


def distances(split: Split) -> np.ndarray:
    """Distances of held-out latencies from their predictions, in predicted deviations: (devices, held out)."""
    rng = np.random.default_rng(SEED)
    fleet = load_fleet(split.space)
    learn = np.flatnonzero(fleet.usable[: split.n_train])
    held_out = split.n_train + np.flatnonzero(fleet.usable[split.n_train : split.n_stop])[:HELD_OUT]
    predictor = LatencyPredictor(fleet.space).fit([fleet.measurements(device, learn) for device in split.train])
    predictor = predictor.for_new_device()
    pool = rng.permutation(learn)[:N_CANDIDATES]
    measured = fleet.population[pool[predictor.suggest(fleet.population[pool], MEASURED)]]
    rows = np.concatenate([measured, fleet.population[held_out]])
    mean, features = predictor._features(rows)
    terms = predictor._terms()
    found: list[np.ndarray] = []
    while len(found) < DEVICES:
        scales = [term.scale * np.exp(term.spread * rng.normal()) for term in terms]
        noise = NOISE[0] * np.exp(NOISE[1] * rng.normal())
        weights = rng.normal(size=features.shape[1]) * np.repeat(scales, [term.width for term in terms])
        latency = mean + features @ weights
        if noise > MOST_NOISE or latency.min() < LEAST * latency.mean():
            continue
        tails = rng.standard_t(DEGREES_OF_FREEDOM, size=len(latency))
        latency = latency + np.maximum(mean, LEAST_RELATIVE) * noise * tails
        if latency.min() <= 0:
            continue
        predictor.adapt(measured, latency[:MEASURED])
        predicted, std = predictor.predict(rows[MEASURED:], return_std=True)
        found.append(np.abs(latency[MEASURED:] - predicted) / std)
    return np.stack(found)


def passing(distance: np.ndarray, devices: int, rng: np.random.Generator) -> float:
    """Share of sets of so many devices whose mean shares within one and two deviations meet the goal."""
    one, two = (distance < 1).mean(axis=1), (distance < 2).mean(axis=1)
    drawn = rng.integers(0, len(distance), size=(4000, devices))
    mean_one, mean_two = one[drawn].mean(axis=1), two[drawn].mean(axis=1)
    return float(((mean_one >= LOWEST) & (mean_one <= HIGHEST) & (mean_two >= WITHIN_TWO)).mean())


def main() -> None:
    """Write and print a row for each fleet."""
    rng = np.random.default_rng(SEED)
    rows = []
    for name in FLEETS:
        distance = distances(SPLITS[name])
        needed = np.log(np.quantile(distance, 0.6827, axis=1))
        # The constant factor that lets most sets pass, found on these very devices.
        factor = max(np.arange(0.8, 1.61, 0.05), key=lambda by: passing(distance / by, 5, np.random.default_rng(SEED)))
        rows.append(
            {
                "fleet": name,
                "within_one_sigma": (distance < 1).mean(),
                "within_two_sigma": (distance < 2).mean(),
                "log_needed_sd": needed.std(),
                **{f"sets_of_{n}_pass": passing(distance, n, rng) for n in (3, 5, 6)},
                "best_factor": factor,
                "sets_of_5_pass_with_it": passing(distance / factor, 5, rng),
                "sets_of_5_pass_factor_known": passing(distance / np.exp(needed)[:, None], 5, rng),
            }
        )
    table = pd.DataFrame(rows).round(3)
    save_table(Path(__file__).parent / "results" / "simulated.csv", table)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
