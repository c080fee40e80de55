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
import platform  # noqa: E402
import sys  # noqa: E402
from importlib.metadata import PackageNotFoundError, version  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from experiments.search_speed import figure, peers, rivals, tables  # noqa: E402
from experiments.search_speed.task import FINDER, KNOWN, Recorder, Task, data_folder, search  # noqa: E402
from latency_tables.files import write_text  # noqa: E402
from nas.search.evolution.pareto import hypervolume  # noqa: E402
from nas.search.evolution.settings import EvolutionSettings  # noqa: E402
from nas.search.evolution.strategies import run_strategy  # noqa: E402
from nas.search.run import SearchSettings  # noqa: E402

MOMENTS = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0]
TABLES = ("macro", "help_budgets", "fronts", "once_for_all", "strategies")
METHODS_OF_PEERS = ("once-for-all finder", "pymoo NSGA-II", "Optuna NSGA-II", "Optuna TPE")
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
    """Hypervolume of accuracy and latency against CPU time."""

    def ours(seed: int) -> Recorder:
        recorder = Recorder(task)
        settings = EvolutionSettings(evaluations=40_000, parents=100, children=100)

        class Front:
            def objectives(self, population: np.ndarray) -> np.ndarray:
                return recorder(population)

            def violations(self, population: np.ndarray) -> np.ndarray:
                return np.empty((len(population), 0))

        run_strategy("nsga2", task.space, Front(), rng=np.random.default_rng(seed), settings=settings)
        return recorder

    methods = {
        "ours": ours,
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
            rows += [(method, seed, moment, value, n) for moment, value in zip(MOMENTS, values, strict=True)]
    return pd.DataFrame(rows, columns=["method", "seed", "cpu_s", "hypervolume", "evaluations"])


def main() -> int:
    """Run everything; the exit code is 2 where the data is not at hand."""
    parser = argparse.ArgumentParser(prog="python -m experiments.search_speed", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="of our search on once-for-all's task (default 10)")
    parser.add_argument("--peer-seeds", type=int, default=3, help="of every other search (default 3)")
    parser.add_argument("--evaluations", type=int, default=20_000, help="of our search (`nas search`: 20,000)")
    parser.add_argument("--generations", type=int, default=500, help="of once-for-all's finder (its default: 500)")
    parser.add_argument("--seconds", type=float, default=3.0, help="CPU seconds of each search for a front")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="tables to make anew (default all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    try:
        data = data_folder()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for name in TABLES:
        if name not in arguments.only and not (path := arguments.out / f"{name}.csv").is_file():
            print(f"there is no {path}; name {name} in --only too", file=sys.stderr)
            return 2
    task = Task(data)
    conditions = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores shared with other work, CPU time of one thread",
        "python": platform.python_version(),
        **{package: _version(package) for package in ("numpy", "torch", "optuna", "pymoo", "ofa")},
        **{key: str(value) for key, value in vars(arguments).items() if key != "out"},
    }
    print(json.dumps(conditions, indent=1))
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "conditions.json", json.dumps(conditions, indent=1) + "\n")

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
        results[name] = pd.read_csv(path, dtype={"budget_mmacs": str})
        print(f"\n{name}\n{figure.summary(name, results[name]).round(4).to_string()}")
    figure.draw(results).savefig(arguments.out / "search_speed.png", dpi=130)
    return 0


def with_skipped(made: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with the rows of methods that were skipped now, as an earlier run left them in `path`."""
    if not path.is_file() or "method" not in made:
        return made
    before = pd.read_csv(path, dtype={"budget_mmacs": str})
    kept = before[before["method"].isin(METHODS_OF_PEERS) & ~before["method"].isin(made["method"])]
    return pd.concat([made, kept], ignore_index=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


if __name__ == "__main__":
    sys.exit(main())
