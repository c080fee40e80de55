"""What free statistics and rounds bring the accuracy predictor: ``python -m experiments.accuracy_predictor``.

From the repository's root. Truths: NAS-Bench-Macro (https://arxiv.org/abs/2103.11922), the 500 networks of
NAS-Bench-201 that HELP (https://arxiv.org/abs/2106.08630) gives, and once-for-all's own accuracy predictor
(https://arxiv.org/abs/1908.09791) with noise as an evaluation on some thousand images has. Accuracies are fractions.
"""

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.neural_network import MLPRegressor

from experiments.conditions import machine, write_facts
from experiments.latency_transfer.data import load_fleet
from experiments.search_speed.tables import MacroSpace
from experiments.search_speed.task import Exact, Task, data_folder
from latency_tables.files import write_text
from nas.search.active_learning import EvaluationPlan, learn_accuracy
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives, Unknown
from predictors.accuracy import CONSTANT, COSTS, COUNTS, NOISE, POSITIONS, AccuracyPredictor
from predictors.encoding import ArchitectureEncoding
from predictors.gaussian_process import GroupedGaussianProcess, Term
from predictors.held_out import concordance
from search_spaces import Population, SearchSpace
from search_spaces.costs import Costs

RESULTS = Path(__file__).with_name("results")
OBSERVED = (20, 40, 80, 160)
OFA_NOISE = 0.002
LIMIT_MS = 25


class CostedMacroSpace(MacroSpace):
    """NAS-Bench-Macro with the MACs and parameters of its table."""

    def __init__(self, macs: np.ndarray, params: np.ndarray) -> None:
        super().__init__()
        self._macs, self._params = macs, params

    def costs(self, population: Any, precision: str = "float32") -> Costs:
        code = population.astype(np.int64) @ (3 ** np.arange(8)[::-1])
        params = self._params[code]
        return Costs(self._macs[code], params, 4 * params, np.ones_like(params))


def truths(data: Path) -> Iterator[tuple[str, SearchSpace, Population, np.ndarray, float]]:
    """Name, space, networks, their true accuracy, and the noise that an evaluation adds."""
    table = pd.read_csv(data / "accuracy/nasbench_macro_cifar10.csv", dtype={"arch": str})
    table = table.assign(code=[int(name, 3) for name in table["arch"]]).sort_values("code")
    macro = CostedMacroSpace(table["flops"].to_numpy(), table["params"].to_numpy())
    every = np.indices((3,) * 8).reshape(8, -1).T.astype(np.int16)
    yield "NAS-Bench-Macro", macro, every, table["cifar10_test_acc_mean"].to_numpy() / 100, 0.0
    fleet = load_fleet("nasbench201")
    known = pd.read_csv(data / "accuracy/nasbench201_cifar100_500.csv")
    cells = fleet.population[known["arch_index"].to_numpy()]
    yield "NAS-Bench-201", fleet.space, cells, known["cifar100_test_acc_mean"].to_numpy() / 100, 0.0
    task = Task(data)
    population = task.space.sample(2000, np.random.default_rng(7), tilt=1.5)
    yield "once-for-all", task.space, population, task.accuracy(population), OFA_NOISE


def features(space: SearchSpace, population: Population) -> dict[str, np.ndarray]:
    """Groups of columns: operators at places (equal weight), counted, costs, and an embedding as FBNetV3 pretrains."""
    encoding = ArchitectureEncoding(space, "accuracy")
    reference = encoding.reference
    groups = np.split(encoding(population), np.cumsum(list(encoding.widths.values()))[:-1], axis=1)
    found = dict(zip(encoding.widths, groups, strict=True))
    plain, wanted = (space.encode(rows) - space.encode(reference).mean(axis=0) for rows in (reference, population))
    found["positions"] = wanted / np.sqrt(np.square(plain).sum(axis=1).mean())
    costs = space.costs(reference)
    statistics = np.log(np.stack([costs.macs, costs.params], axis=1))
    statistics = (statistics - statistics.mean(axis=0)) / statistics.std(axis=0)
    scale = 1 / plain.std()
    network = MLPRegressor(hidden_layer_sizes=(64,), max_iter=60, learning_rate_init=3e-3, random_state=0)
    network.fit(scale * plain, statistics)

    def hidden(rows: np.ndarray) -> np.ndarray:
        return np.maximum(scale * rows @ network.coefs_[0] + network.intercepts_[0], 0)

    centred = hidden(plain) - hidden(plain).mean(axis=0)
    length = np.sqrt(np.square(centred).sum(axis=1).mean())
    found["embedding"] = (hidden(wanted) - hidden(plain).mean(axis=0)) / length
    return found


WAYS = {
    "no free statistics": {"positions": POSITIONS, "counts": COUNTS},
    "and their logarithms": {"positions": POSITIONS, "counts": COUNTS, "costs": COSTS},
    "and a pretrained embedding": {"positions": POSITIONS, "counts": COUNTS, "costs": COSTS, "embedding": 0.4},
}


def predicted(groups: dict[str, np.ndarray], scales: dict[str, float], rows: np.ndarray, target: np.ndarray) -> Any:
    columns = [groups[name].astype(np.float64) for name in scales]
    matrix = np.concatenate([np.ones((len(columns[0]), 1)), *columns], axis=1)
    terms = [CONSTANT, *(Term(part.shape[1], scales[name]) for name, part in zip(scales, columns, strict=True))]
    centre, unit = target.mean(), target.std()
    process = GroupedGaussianProcess([term for term in terms if term.width], noise_scale=NOISE)
    process.fit(matrix[rows], (target - centre) / unit)
    return centre + unit * matrix @ process.posterior_.mean


def free_statistics(data: Path, seeds: int, out: Path) -> None:
    """Kendall's tau and error on networks that were not evaluated."""
    lines = []
    for name, space, population, truth, noise in truths(data):
        groups = features(space, population)
        for seed, n in itertools.product(range(seeds), OBSERVED):
            rng = np.random.default_rng(seed)
            order = rng.permutation(len(population))
            seen, unseen = order[:n], order[max(OBSERVED) :][:1000]
            observed = truth[seen] + noise * rng.normal(size=n)
            found = {way: predicted(groups, scales, seen, observed) for way, scales in WAYS.items()}
            shipped = AccuracyPredictor(space).fit(population[seen], observed)
            found["shipped: and operators weighed by them"] = shipped.predict(population)
            for way, accuracy in found.items():
                tau = concordance(accuracy[unseen], truth[unseen])
                rmse = np.sqrt(np.mean((accuracy[unseen] - truth[unseen]) ** 2))
                lines.append((name, way, n, seed, round(tau, 4), round(rmse, 5)))
            table = pd.DataFrame(lines, columns=["truth", "predictor", "evaluations", "seed", "kendall_tau", "rmse"])
            write_text(out / "free_statistics.csv", table.to_csv(index=False))


def rounds(data: Path, seeds: int, out: Path) -> None:
    """The network found within a budget on once-for-all's task, with all evaluations spread or most in rounds."""
    task, budget, lines = Task(data), Budget.parse(latency=f"{LIMIT_MS}ms"), []
    unknown = Objectives(task.space, Unknown(), Exact(task.latency_ms))
    for n, seed, way in itertools.product(OBSERVED[1:], range(seeds), ("spread", "rounds")):
        rng = np.random.default_rng(100 + seed)

        def evaluate(population: Population, rng: np.random.Generator = rng) -> np.ndarray:
            return np.clip(task.accuracy(population) + OFA_NOISE * rng.normal(size=len(population)), 0, 1)

        started = time.process_time()
        plan = EvaluationPlan(n, spread=1.0) if way == "spread" else EvaluationPlan(n)
        learnt = learn_accuracy(unknown, check_feasibility(unknown, budget, seed), evaluate, plan=plan, seed=seed)
        seconds = time.process_time() - started
        score = Objectives(task.space, learnt.predictor, unknown.latency).scorer(budget)
        archive = run_strategy(
            "evolution", task.space, score, rng=np.random.default_rng(seed), settings=EvolutionSettings(6000)
        )
        best = np.flatnonzero(archive.feasible)
        best = best[np.argsort(archive.objectives[best, 0])]
        top = archive.population[best[:1000]]
        truth, guess = task.accuracy(top), learnt.predictor.predict(top)
        near = learnt.record()["near_front"]
        lines.append((
            n, way, seed, round(truth[0], 5), round(truth[:8].max(), 5),
            round(float(np.sqrt(np.mean((guess - truth) ** 2))), 5), near and round(near["rmse"], 5), round(seconds, 2),
        ))  # fmt: skip
        columns = ["evaluations", "chosen_by", "seed", "accuracy", "best_of_8", "rmse_of_best_1000", "rmse_reported", "cpu_s"]  # fmt: skip  # noqa: E501
        write_text(out / "rounds.csv", pd.DataFrame(lines, columns=columns).to_csv(index=False))


def main() -> None:
    """Run both studies; print their means."""
    parser = argparse.ArgumentParser(prog="python -m experiments.accuracy_predictor", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    words = parser.parse_args()
    words.out.mkdir(parents=True, exist_ok=True)
    facts = machine("numpy", "scipy", "scikit-learn") | {"seeds": list(range(words.seeds))}
    print(json.dumps(facts, indent=1))
    rounds(data_folder(), words.seeds, words.out)
    free_statistics(data_folder(), words.seeds, words.out)
    write_facts(words.out / "conditions.json", facts)
    found = pd.read_csv(words.out / "rounds.csv").drop(columns="seed")
    print(found.groupby(["evaluations", "chosen_by"]).mean().round(4).to_string())
    table = pd.read_csv(words.out / "free_statistics.csv")
    means = table.pivot_table(index=["truth", "predictor"], columns="evaluations", values=["kendall_tau", "rmse"])
    print(means.round(4).to_string())


if __name__ == "__main__":
    main()
