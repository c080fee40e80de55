import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.conditions import ABSENT
from experiments.search_speed import __main__ as study
from experiments.search_speed import peers
from experiments.search_speed.rivals import _outcome
from experiments.search_speed.task import Exact
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from nas.search.feasibility import check_feasibility
from nas.search.objectives import EXPONENTS, MNAS, Objectives
from nas.search.run import SearchSettings
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images", depths=(1, 2))


def millions(population: np.ndarray) -> np.ndarray:
    return SPACE.costs(population).macs / 1e6


def test_an_objective_is_judged_by_what_it_chooses_and_not_by_what_it_passes_on_the_way() -> None:
    objectives = Objectives(SPACE, Exact(lambda p: 0.7 + 0.002 * millions(p)), Exact(millions))
    budget = check_feasibility(objectives, Budget.parse(latency="5ms")).budget
    weighed = replace(objectives, exponent=EXPONENTS[MNAS])
    settings = EvolutionSettings(600)
    archive = run_strategy("evolution", SPACE, weighed.scorer(budget), rng=np.random.default_rng(0), settings=settings)
    found = _outcome(archive, objectives, budget)
    best = archive.population[[archive.best]]
    assert found["accuracy"] == found["best_after_20000"] == objectives.accuracy.predict(best)[0]
    within = millions(archive.population) <= 5
    assert objectives.accuracy.predict(archive.population)[within].max() > found["best_after_20000"]


def test_the_front_of_the_product_is_among_those_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tiny:
        space = SPACE
        accuracy = latency_ms = staticmethod(millions)

    def absent(*_: Any) -> None:
        raise ImportError

    def ran(name: str, space: Any, score: Any, *, rng: Any, settings: EvolutionSettings) -> None:
        assert name == "nsga2"
        asked.append(settings)
        score.objectives(space.min[None])

    asked: list[EvolutionSettings] = []
    monkeypatch.setattr(study, "run_strategy", ran)
    for name in ("pymoo_front", "optuna_front"):
        monkeypatch.setattr(peers, name, absent)
    assert set(study.fronts(Tiny(), 1, 0.1)["method"]) == {"ours", study.LONGER}  # type: ignore[arg-type]
    assert [each.evaluations for each in asked] == [SearchSettings().front.evaluations, 40_000]


def test_rows_of_absent_peers_are_kept_only_where_they_had_the_same_effort(tmp_path: Path) -> None:
    path = tmp_path / "fronts.csv"
    pd.DataFrame({"method": ["ours", "pymoo NSGA-II"], "seed": 0}).to_csv(path, index=False)
    before = {"pymoo": "0.6.2", "optuna": "5.0.0", "peer_seeds": 3, "seconds": 3.0}
    now = before | {"pymoo": ABSENT}
    assert study.with_absent(now, before, path) == before
    for other in ({"seconds": 9.0}, {"peer_seeds": 5}):
        (key,) = other
        word = f"--{key.replace('_', '-')}"
        with pytest.raises(ValueError, match=re.escape(f"with {word} {before[key]}, not {other[key]}")):
            study.with_absent(now | other, before, path)
        present = before | other
        assert study.with_absent(present, before, path) == present
