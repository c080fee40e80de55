"""The peers on once-for-all's task, each in its own code; an absent one is skipped with a reason.

once-for-all's finder (`pip install --no-deps ofa`, and tqdm, pyyaml, gdown), pymoo, Optuna. Times are CPU
seconds of one thread.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from experiments.search_speed.task import History, Recorder, Task


def finder(task: Task, limit_ms: int, seed: int, generations: int) -> History:
    """once-for-all's finder, with its own accuracy predictor and latency estimator classes."""
    import random

    import torch
    from ofa.tutorial import evolution_finder
    from ofa.tutorial.accuracy_predictor import AccuracyPredictor, ex_map, ks_map
    from ofa.tutorial.latency_table import LatencyEstimator

    evolution_finder.tqdm = lambda steps, **_: steps
    # Its maps follow the order of a set; the weights were trained with ascending ones.
    ks_map.update({3: 0, 5: 1, 7: 2})
    ex_map.update({3: 0, 4: 1, 6: 2})
    torch.set_num_threads(1)
    random.seed(seed)
    np.random.seed(seed)
    predictor = AccuracyPredictor(pretrained=False, device="cpu")
    predictor.model.load_state_dict({name: torch.from_numpy(value) for name, value in task.weights.items()})
    tables = {}
    for resolution, rows in task.lut.groupby("resolution"):
        tables[resolution] = LatencyEstimator.__new__(LatencyEstimator)
        tables[resolution].lut = {_key(row): {"mean": row["mean_ms"]} for row in rows.to_dict("records")}

    class Efficiency:
        def predict_efficiency(self, sample: Any) -> float:
            return float(tables[sample["r"][0]].predict_network_latency_given_spec(sample))

    history = History()

    class Accuracy:
        # Only networks within the budget get here.
        def predict_accuracy(self, samples: Any) -> Any:
            accuracy = predictor.predict_accuracy(samples)
            history.note(float(accuracy.max()))
            return accuracy

    search = evolution_finder.EvolutionFinder(
        "note10", limit_ms, Efficiency(), Accuracy(), population_size=100, max_time_budget=generations
    )
    search.run_evolution_search()
    return history


def _key(row: dict[Any, Any]) -> str:
    words = [row["type"], f"input:{row['input']}", f"output:{row['output']}"]
    if row["type"] == "expanded_conv":
        names = {"expand": "expand", "kernel": "kernel", "stride": "stride", "idskip": "idskip", "se": "se", "hs": "hs"}
        words += [f"{name}:{int(row[column])}" for name, column in names.items()]
    return "-".join(words)


def pymoo_front(task: Task, seed: int, seconds: float) -> Recorder:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.ux import UniformCrossover
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    recorder = Recorder(task)

    class Front(Problem):
        def __init__(self) -> None:
            upper = task.space.n_choices - 1
            super().__init__(n_var=len(upper), n_obj=2, xl=np.zeros(len(upper)), xu=upper, vtype=int)

        def _evaluate(self, x: np.ndarray, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            _stop(recorder, seconds)
            out["F"] = recorder(task.space.canonical(x.astype(np.int16)))

    algorithm = NSGA2(
        pop_size=100,
        sampling=IntegerRandomSampling(),
        crossover=UniformCrossover(),
        mutation=PM(vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=True,
    )
    return _until(recorder, lambda: minimize(Front(), algorithm, ("n_gen", 100_000), seed=seed))


def optuna_front(task: Task, seed: int, seconds: float, sampler: str) -> Recorder:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recorder = Recorder(task)
    sizes = task.space.n_choices.tolist()
    names = [gene.name for gene in task.space.genes]

    def objective(trial: Any) -> tuple[float, float]:
        _stop(recorder, seconds)
        row = [trial.suggest_int(name, 0, size - 1) for name, size in zip(names, sizes, strict=True)]
        values = recorder(task.space.canonical(np.array([row], dtype=np.int16)))[0]
        return float(values[0]), float(values[1])

    samplers = {"NSGA-II": optuna.samplers.NSGAIISampler, "TPE": optuna.samplers.TPESampler}
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=samplers[sampler](seed=seed))
    return _until(recorder, lambda: study.optimize(objective, n_trials=1_000_000))


class _Enough(BaseException):
    pass


def _stop(recorder: Recorder, seconds: float) -> None:
    if time.process_time() - recorder.started > seconds:
        raise _Enough


def _until(recorder: Recorder, run: Callable[[], Any]) -> Recorder:
    with suppress(_Enough):
        run()
    return recorder
