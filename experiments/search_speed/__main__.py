"""The whole study: ``python -m experiments.search_speed`` (from the repository's root).

Writes the tables and the figure under ``results/`` and prints the machine, versions and seeds. Peers that are
not installed are skipped, which is said; ``README.md`` tells how to have them beside the project.
"""

import os

# One thread, for the times that are stated; before NumPy is imported.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from dataclasses import replace  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from experiments.conditions import ABSENT, machine, write_facts  # noqa: E402
from experiments.search_speed import figure, peers, rivals, tables  # noqa: E402
from experiments.search_speed.task import FINDER, KNOWN, Recorder, Task, data_folder, search  # noqa: E402
from latency_tables.files import write_text  # noqa: E402
from nas.search.evolution.pareto import hypervolume  # noqa: E402
from nas.search.evolution.settings import EvolutionSettings  # noqa: E402
from nas.search.evolution.strategies import run_strategy  # noqa: E402
from nas.search.run import SearchSettings  # noqa: E402

MOMENTS = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0]
EFFORT = {
    "macro": ("seeds",),
    "help_budgets": ("peer_seeds",),
    "fronts": ("peer_seeds", "seconds"),
    "once_for_all": ("seeds", "peer_seeds", "evaluations", "generations"),
    "strategies": ("seeds",),
}
"""The tables, and what of the words each follows from."""
PEERS = {
    "once-for-all finder": "ofa",
    "pymoo NSGA-II": "pymoo",
    "Optuna NSGA-II": "optuna",
    "Optuna TPE": "optuna",
}
"""Their packages, by method."""
PEERS_FOLLOW = ("peer_seeds", "seconds", "generations")
LONGER = "ours, 40,000 evaluations"
"""About as many as pymoo gets through in three seconds."""
WORST = np.array([-0.70, 45.0])
"""Minus the accuracy and the latency that hypervolumes are taken up to."""


def against_finder(task: Task, seeds: int, finder_seeds: int, evaluations: int, generations: int) -> pd.DataFrame:
    """Both searches under once-for-all's four budgets; the goals are those of `FINDER` and `KNOWN`."""
    settings = SearchSettings(EvolutionSettings(evaluations))
    rows = []
    for limit in FINDER:
        runs = [("ours", seed) for seed in range(seeds)]
        runs += [("once-for-all finder", seed) for seed in range(finder_seeds)]
        for method, seed in runs:
            if method == "ours":
                history = search(task, limit, seed, settings)
            else:
                history = peers.finder(task, limit, seed, generations)
            rows.append(
                {
                    "budget_ms": limit,
                    "method": method,
                    "seed": seed,
                    "best": history.best(),
                    **{f"best_after_{moment:g}s": history.best(moment) for moment in MOMENTS},
                    "s_to_pass_finder": history.seconds_to(FINDER[limit] + 5e-5),
                    "s_to_within_0.0005": history.seconds_to(KNOWN[limit] - 5e-4),
                    "s_to_best_known": history.seconds_to(KNOWN[limit] - 5e-5),
                    "s_to_own_best": history.known[-1][0],
                    "s_in_all": history.total_s,
                }
            )
    return pd.DataFrame(rows)


def fronts(task: Task, seeds: int, seconds: float) -> pd.DataFrame:
    """Hypervolume of accuracy and latency against CPU time; ours as `nas search` runs it, and longer."""

    def ours(seed: int, settings: EvolutionSettings) -> Recorder:
        recorder = Recorder(task)

        class Front:
            def objectives(self, population: np.ndarray) -> np.ndarray:
                return recorder(population)

            def violations(self, population: np.ndarray) -> np.ndarray:
                return np.empty((len(population), 0))

        run_strategy("nsga2", task.space, Front(), rng=np.random.default_rng(seed), settings=settings)
        return recorder

    product = SearchSettings().front
    methods = {
        "ours": lambda seed: ours(seed, product),
        LONGER: lambda seed: ours(seed, replace(product, evaluations=40_000)),
        "pymoo NSGA-II": lambda seed: peers.pymoo_front(task, seed, seconds),
        "Optuna NSGA-II": lambda seed: peers.optuna_front(task, seed, seconds, "NSGA-II"),
        "Optuna TPE": lambda seed: peers.optuna_front(task, seed, seconds, "TPE"),
    }
    rows = []
    for method, run in methods.items():
        for seed in range(seeds):
            try:
                recorder = run(seed)
            except ImportError as error:
                print(f"{method} is skipped: {error}")
                break
            values = recorder.curve(lambda points: hypervolume(points, WORST), MOMENTS)
            n = sum(map(len, recorder.objectives))
            about = (n, recorder.seconds[-1])
            rows += [(method, seed, moment, value, *about) for moment, value in zip(MOMENTS, values, strict=True)]
    return pd.DataFrame(rows, columns=["method", "seed", "cpu_s", "hypervolume", "evaluations", "s_in_all"])


def main() -> int:
    """Run everything; the exit code is 2 where the data is not at hand."""
    parser = argparse.ArgumentParser(prog="python -m experiments.search_speed", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="of our search on once-for-all's task (default 10)")
    parser.add_argument("--peer-seeds", type=int, default=3, help="of every other search (default 3)")
    parser.add_argument("--evaluations", type=int, default=20_000, help="of our search (`nas search`: 20,000)")
    parser.add_argument("--generations", type=int, default=500, help="of once-for-all's finder (its default: 500)")
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU seconds of each search for a front")
    parser.add_argument(
        "--only", nargs="+", choices=EFFORT, default=tuple(EFFORT), help="tables to make anew (default all)"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    try:
        data = data_folder()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for name in EFFORT:
        if name not in arguments.only and not (path := arguments.out / f"{name}.csv").is_file():
            print(f"there is no {path}; name {name} in --only too", file=sys.stderr)
            return 2
    about = machine("numpy", "torch", "optuna", "pymoo", "ofa") | {"times": "CPU seconds of one thread"}
    kept = arguments.out / "conditions.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    conditions = {name: about | {key: getattr(arguments, key) for key in EFFORT[name]} for name in arguments.only}
    try:
        for name in arguments.only:
            conditions[name] = with_absent(conditions[name], known.get(name, {}), arguments.out / f"{name}.csv")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(conditions, indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    task = Task(data)
    finder_seeds = arguments.peer_seeds
    try:
        import ofa.tutorial  # noqa: F401
    except ImportError as error:
        print(f"once-for-all's finder is skipped: {error}")
        finder_seeds = 0
    work = {
        "macro": lambda: tables.macro(data, 2 * arguments.seeds),
        "help_budgets": lambda: tables.help_budgets(data, arguments.peer_seeds),
        "fronts": lambda: fronts(task, arguments.peer_seeds, arguments.seconds),
        "once_for_all": lambda: against_finder(
            task, arguments.seeds, finder_seeds, arguments.evaluations, arguments.generations
        ),
        "strategies": lambda: rivals.compared(task, arguments.seeds),
    }
    results = {}
    for name, run in work.items():
        path = arguments.out / f"{name}.csv"
        if name in arguments.only:
            write_text(path, with_skipped(run().round(5), path).to_csv(index=False))
            known[name] = conditions[name]
            write_facts(kept, {each: known[each] for each in EFFORT if each in known})
        results[name] = pd.read_csv(path, dtype={"budget_mmacs": str})
        print(f"\n{name}\n{figure.summary(name, results[name]).round(4).to_string()}")
    figure.draw(results).savefig(arguments.out / "search_speed.png", dpi=130)
    return 0


def with_skipped(made: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with the rows of methods that were skipped now, as an earlier run left them in `path`."""
    if not path.is_file() or "method" not in made:
        return made
    before = pd.read_csv(path, dtype={"budget_mmacs": str})
    kept = before[before["method"].isin(PEERS) & ~before["method"].isin(made["method"])]
    return pd.concat([made, kept], ignore_index=True)


def with_absent(conditions: dict[str, Any], before: dict[str, Any], path: Path) -> dict[str, Any]:
    """The conditions of a table, with the versions of peers that are absent now and whose rows in `path` are kept.

    Raises
    ------
    ValueError : these rows were made under other conditions.
    """
    methods = set(pd.read_csv(path).get("method", ())) if path.is_file() else set()
    packages = {PEERS[method] for method in sorted(methods & set(PEERS))}
    for package in sorted(name for name in packages if conditions[name] == ABSENT):
        for key in PEERS_FOLLOW:
            if key in conditions and before.get(key) != conditions[key]:
                word = f"--{key.replace('_', '-')}"
                raise ValueError(
                    f"the rows of {package} in {path} were made with {word} {before.get(key)}, not {conditions[key]}; "
                    f"install it, or type {word} {before.get(key)}"
                )
        conditions = conditions | {package: before.get(package, ABSENT)}
    return conditions


if __name__ == "__main__":
    sys.exit(main())
