"""Searches on tables whose true optimum is known.

NAS-Bench-Macro (https://arxiv.org/abs/2103.11922): all 6,561 accuracies. NAS-Bench-201 with the latencies of
HELP (https://arxiv.org/abs/2106.08630): 500 known accuracies on CIFAR-100. Accuracies are percent as in the
tables, latencies milliseconds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.latency_transfer.data import SPLITS, load_fleet
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from predictors.latency import LatencyPredictor
from search_spaces.genes import Gene, Slot
from search_spaces.layers import LayerSpec
from search_spaces.space import SearchSpace

FEW_QUERIES = EvolutionSettings(evaluations=1500, parents=20, children=6, candidates_per_child=4, patience=15)

# HELP's README: device, budget in ms, its latency when measured, its accuracy.
HELP = (
    ("titan_rtx_256", 18, 17.8, 69.7), ("titan_rtx_256", 21, 18.9, 71.5), ("titan_rtx_256", 25, 24.2, 71.8),
    ("gold_6226", 8, 8.0, 67.3), ("gold_6226", 11, 10.7, 70.2), ("gold_6226", 14, 14.3, 72.1),
    ("pixel2", 14, 13.0, 69.7), ("pixel2", 18, 19.0, 71.8), ("pixel2", 22, 25.0, 73.2),
    ("eyeriss", 5, 3.9, 71.5), ("eyeriss", 7, 5.1, 71.8), ("eyeriss", 9, 9.1, 73.5),
    ("fpga", 4, 3.8, 70.2), ("fpga", 5, 4.7, 71.8), ("fpga", 6, 7.4, 73.5),
)  # fmt: skip


class MacroSpace(SearchSpace):
    """Eight layers of three choices; only a table knows what they cost."""

    def __init__(self) -> None:
        genes = [Gene(f"layer{i}", "operator", "o", (0, 1, 2)) for i in range(8)]
        super().__init__("nasbench_macro", genes, [Slot(g.name, g.name, (g.name,)) for g in genes], 10)

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        raise NotImplementedError


class MacroScore:
    """Accuracy by table look-up, each counted as a query; MACs are free, as they are on paper."""

    def __init__(self, accuracy: np.ndarray, macs: np.ndarray, limit: float) -> None:
        self.accuracy, self.macs, self.limit = accuracy, macs, limit
        self.queried: list[float] = []

    def index(self, population: np.ndarray) -> np.ndarray:
        return population.astype(np.int64) @ (3 ** np.arange(8)[::-1])

    def violations(self, population: np.ndarray) -> np.ndarray:
        return (self.macs[self.index(population)] / self.limit - 1)[:, None]

    def objectives(self, population: np.ndarray) -> np.ndarray:
        accuracy = self.accuracy[self.index(population)]
        self.queried += np.where(self.violations(population)[:, 0] <= 0, accuracy, 0.0).tolist()
        return -accuracy[:, None]


def macro(data: Path, seeds: int) -> pd.DataFrame:
    """Queries until the true optimum, under ten budgets: ours, ours by gradient, random, regularised evolution."""
    table = pd.read_csv(data / "accuracy/nasbench_macro_cifar10.csv", dtype={"arch": str})
    table = table.assign(code=[int(name, 3) for name in table["arch"]]).sort_values("code")
    accuracy, macs = table["cifar10_test_acc_mean"].to_numpy(), table["flops"].to_numpy(dtype=float)
    space = MacroSpace()
    every = np.indices((3,) * 8).reshape(8, -1).T.astype(np.int16)
    rows = []
    for share in np.arange(0.05, 1.0, 0.1):
        limit = float(np.quantile(macs, share))
        optimum = accuracy[macs <= limit].max()
        for seed in range(seeds):
            cheapest = every[[macs.argmin()]]
            scores = {name: MacroScore(accuracy, macs, limit) for name in ("evolution", "gradient")}
            for name, score in scores.items():
                rng = np.random.default_rng(seed)
                run_strategy(name, space, score, rng=rng, settings=FEW_QUERIES, start=cheapest)
            aged = _regularised_evolution(accuracy, macs, limit, np.random.default_rng(seed), optimum)
            feasible = np.flatnonzero(macs <= limit)
            random = accuracy[np.random.default_rng(seed).permutation(feasible)]
            ours, relaxed = (score.queried for score in scores.values())
            for method, queried in {
                "ours": ours, "gradient": relaxed, "regularised evolution": aged, "random": random
            }.items():  # fmt: skip
                found = np.flatnonzero(np.asarray(queried) >= optimum)
                rows.append((f"{limit / 1e6:.1f}", method, seed, int(found[0]) + 1 if len(found) else -1))
    return pd.DataFrame(rows, columns=["budget_mmacs", "method", "seed", "queries_to_optimum"])


def _regularised_evolution(
    accuracy: np.ndarray, macs: np.ndarray, limit: float, rng: np.random.Generator, optimum: float
) -> list[float]:
    """Real et al. 2019 (https://arxiv.org/abs/1802.01548): 50 alive, ten compete, one gene mutates, the oldest dies."""
    place = 3 ** np.arange(8)[::-1]
    feasible = np.flatnonzero(macs <= limit)
    alive = [int(code) for code in rng.choice(feasible, min(50, len(feasible)), replace=False)]
    known = {code: accuracy[code] for code in alive}
    for _ in range(60_000):
        if max(known.values()) >= optimum:
            break
        parent = max(rng.choice(alive, 10), key=lambda code: known[code])
        layer = rng.integers(8)
        child = int(
            parent + ((parent // place[layer] + rng.integers(1, 3)) % 3 - parent // place[layer] % 3) * place[layer]
        )
        if macs[child] > limit:
            continue
        known.setdefault(child, accuracy[child])  # a known network costs no query
        alive = [*alive[1:], child]
    return list(known.values())


def help_budgets(data: Path, seeds: int) -> pd.DataFrame:
    """HELP's fifteen budgets: networks chosen among 500 by predicted latency, then five finalists measured."""
    fleet, split = load_fleet("nasbench201"), SPLITS["nasbench201"]
    known = pd.read_csv(data / "accuracy/nasbench201_cifar100_500.csv")
    index, accuracy = known["arch_index"].to_numpy(), known["cifar100_test_acc_mean"].to_numpy()
    sources = np.flatnonzero(fleet.usable[:900])
    fitted = LatencyPredictor(fleet.space).fit([fleet.measurements(device, sources) for device in split.train])
    rows = []
    for device in dict.fromkeys(device for device, *_ in HELP):
        truth = fleet.latency_ms[device]
        for seed in range(seeds):
            pool = np.random.default_rng(seed).choice(sources, 300, replace=False)
            predictor = LatencyPredictor(fleet.space)
            predictor.__dict__.update(fitted.__dict__)
            chosen = pool[predictor.suggest(fleet.population[pool], 10)]
            predictor.adapt(fleet.population[chosen], truth[chosen])
            mean, std = predictor.predict(fleet.population[index], return_std=True)
            for name, limit, help_ms, help_accuracy in HELP:
                if name != device:
                    continue
                true = truth[index]
                best = accuracy[true <= limit].max()
                # By prediction alone; then the five most accurate that are likely enough to hold are measured.
                safe = np.flatnonzero(mean + 1.645 * std <= limit)
                alone = safe[accuracy[safe].argmax()] if len(safe) else int((mean + 1.645 * std).argmin())
                likely = np.flatnonzero(mean <= limit)
                finalists = np.append(likely[np.argsort(-accuracy[likely])[:4]], alone)
                holds = finalists[true[finalists] <= limit]
                winner = holds[accuracy[holds].argmax()] if len(holds) else -1
                rows.append({
                    "device": device, "budget_ms": limit, "seed": seed,
                    "predicted_only_ms": true[alone], "predicted_only_accuracy": accuracy[alone],
                    "predicted_only_met": bool(true[alone] <= limit),
                    "measured_ms": true[winner] if winner >= 0 else np.nan,
                    "measured_accuracy": accuracy[winner] if winner >= 0 else np.nan,
                    "measured_met": winner >= 0, "best_of_the_500": best,
                    "help_ms": help_ms, "help_accuracy": help_accuracy, "help_met": help_ms <= limit,
                })  # fmt: skip
    return pd.DataFrame(rows)
