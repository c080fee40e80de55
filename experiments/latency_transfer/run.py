"""Adapt to every test device of every split from n measured networks that the predictor chose itself, as `nas` does.

Each seed offers other candidates: 600 of the architectures that the fleet was measured on. Of their latencies on the
device only those of chosen networks are read. The error is that of the split's test architectures, none of them
measured.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from experiments.latency_transfer.data import SIMULATED, SPLITS, Fleet, Split, load_fleet
from predictors.held_out import latency_errors
from predictors.latency import LatencyPredictor
from predictors.latency.suggestion import next_count
from search_spaces import Population

Floats = NDArray[np.float64]

N_CANDIDATES = 600
NEEDED = "needed_factor"
"""Column: what one deviation has to be multiplied by so that 68 % of the networks lie within."""
METHODS = ("fleet", "alone", "random")
"""With the fleet; without any; with the fleet, and networks at random instead of chosen ones."""
RANDOM_COUNTS = (5, 10, 20)


def adapt_in_turn(predictor: LatencyPredictor, population: Population, latency_ms: Floats, n: int) -> NDArray[np.intp]:
    """Adapt to `n` networks that are chosen as `nas measure` chooses them; which these are.

    Parameters
    ----------
    predictor : adapted to no device yet.
    population, latency_ms : the candidates, shapes (m, n_genes) and (m,).
    """
    chosen = np.empty(0, dtype=np.intp)
    while len(chosen) < n:
        chosen = np.concatenate([chosen, predictor.suggest(population, next_count(len(chosen), n))])
        predictor.adapt(population[chosen], latency_ms[chosen])
    return chosen


def adapt_all(
    fleet: Fleet,
    predictor: LatencyPredictor,
    split: Split,
    counts: Sequence[int],
    seeds: int,
    methods: Collection[str] = METHODS,
) -> Iterator[dict[str, object]]:
    """One row of results for each method, device, n and seed."""
    learn = np.flatnonzero(fleet.usable[: split.n_train])
    held_out = split.n_train + np.flatnonzero(fleet.usable[split.n_train : split.n_stop])
    for seed in range(seeds):
        pool = np.random.default_rng(seed).permutation(learn)[:N_CANDIDATES]
        candidates = fleet.population[pool]
        for method in methods:
            without = predictor.devices_ if method == "alone" else ()
            for device in split.test:
                latency = fleet.latency_ms[device]
                for n in counts if method != "random" else sorted(set(counts) & set(RANDOM_COUNTS)):
                    fresh, chosen = predictor.for_new_device(without), np.arange(n)
                    if method != "random":
                        chosen = adapt_in_turn(fresh, candidates, latency[pool], n)
                    start = time.process_time()
                    fresh.adapt(candidates[chosen], latency[pool[chosen]])
                    seconds = time.process_time() - start
                    mean, std = fresh.predict(fleet.population[held_out], return_std=True)
                    errors = asdict(latency_errors(latency[held_out], mean, std))
                    needed = np.quantile(np.abs(latency[held_out] - mean) / std, 0.6827)
                    yield {
                        "split": split.name,
                        "method": method,
                        "device": device,
                        "simulated": device in SIMULATED,
                        "n": n,
                        "seed": seed,
                        "held_out": errors.pop("n"),
                        **errors,
                        NEEDED: float(needed),
                        "claimed_mape": fresh.errors_.mape,
                        "claimed_over_true": fresh.errors_.mape / errors["mape"],
                        "doubted": len(fresh.suspicious_),
                        "share_of_fleet": fresh.shares_.get("fleet", 0.0),
                        "adapt_s": round(seconds, 4),
                    }


def transfer(names: Sequence[str], counts: Sequence[int], seeds: int) -> pd.DataFrame:
    """Results of the named splits, one row for each device, n and seed."""
    fleets: dict[str, Fleet] = {}
    rows = []
    for name in names:
        split = SPLITS[name]
        if split.space not in fleets:
            fleets[split.space] = load_fleet(split.space)
        fleet = fleets[split.space]
        learn = np.flatnonzero(fleet.usable[: split.n_train])
        start = time.process_time()
        predictor = LatencyPredictor(fleet.space).fit([fleet.measurements(device, learn) for device in split.train])
        print(f"{name}: fitted to {len(split.train)} devices in {time.process_time() - start:.1f} s", flush=True)
        rows += adapt_all(fleet, predictor, split, counts, seeds)
    return pd.DataFrame(rows)
