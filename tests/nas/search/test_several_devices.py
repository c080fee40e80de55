"""One network for several devices: every device's limit holds, and each figure says whose it is."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from nas.errors import BudgetMissed, InfeasibleBudget
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.feasibility import check_feasibility
from nas.search.latency import Latency
from nas.search.objectives import Objectives
from nas.search.run import SearchSettings, run_search
from search_spaces import Population

QUICK = SearchSettings(EvolutionSettings(evaluations=2000), EvolutionSettings(evaluations=1500), finalists=4, rounds=3)
LIMITS = {"pixel": "2.9ms", "note10": "3.95ms"}


@pytest.fixture
def shared(objectives: Objectives) -> Objectives:
    other = replace(objectives.latency, seed=3, scale=0.8, offset=2.0, std=0.2)  # type: ignore[type-var]
    return replace(objectives, latency={"pixel": objectives.latency, "note10": other})


def test_the_answer_is_the_best_that_keeps_every_limit(shared: Objectives, everything: NDArray[np.int16]) -> None:
    result = run_search(shared, check_feasibility(shared, Budget.parse(latency=LIMITS)), settings=QUICK)
    limits = {budget["device"]: budget["limit"] for budget in result.budgets}
    upper = {
        name: np.add(*shared.predicted_latency(everything, Latency(name)) * np.array([[1], [1.6448536]]))
        for name in LIMITS
    }
    keeps = (upper["pixel"] <= limits["pixel"]) & (upper["note10"] <= limits["note10"])
    alone = [shared.accuracy.predict(everything[upper[name] <= limits[name]]).max() for name in LIMITS]
    best = shared.accuracy.predict(everything[keeps]).max()
    assert best < min(alone)  # both limits bind
    assert result.predicted["accuracy"] == pytest.approx(best)
    for name in LIMITS:
        chance = result.predicted[f"chance@{name}"]
        assert chance is not None
        assert chance >= 0.95
    assert {"predicted_latency_ms@pixel", "predicted_latency_ms@note10"} <= set(result.cloud.columns)


def test_measured_on_every_device_that_is_there(shared: Objectives, tmp_path: Path) -> None:
    truth = {name: replace(predictor) for name, predictor in shared.latency.items()}  # type: ignore

    def measure(name: str, factor: float):  # type: ignore[no-untyped-def]
        def measured(population: Population) -> tuple[NDArray[np.float64], ...]:
            latency = truth[name].predict(population) * factor
            return latency, latency, latency

        return measured

    both = {"pixel": measure("pixel", 1.0), "note10": measure("note10", 1.3)}
    budget = Budget.parse(latency=LIMITS)
    result = run_search(
        shared, check_feasibility(shared, budget), settings=QUICK, folder=tmp_path / "both", measure=both
    )
    assert result.status == "met"
    assert result.rounds > 1
    assert shared.latency_scale == {Latency("pixel"): pytest.approx(1.0), Latency("note10"): pytest.approx(1.3)}
    for row in result.budgets:
        assert row["source"] == "measured"
        assert result.measured[f"latency_ms@{row['device']}"] == row["value"] <= row["limit"]
    table = pd.read_csv(tmp_path / "both/finalists.csv")
    assert table["measured_latency_ms@note10"].notna().all()
    assert json.loads((tmp_path / "both/search.json").read_text())["budget"]["latency_ms@pixel"] == "2.9ms"

    shared.latency_scale.clear()
    one = run_search(shared, check_feasibility(shared, budget), settings=QUICK, measure={"pixel": both["pixel"]})
    assert one.status == "predicted"
    assert [row["source"] for row in one.budgets] == ["measured", "predicted"]
    with pytest.raises(BudgetMissed, match="when measured on note10 while keeping the other devices' limits"):
        run_search(
            shared, check_feasibility(shared, budget), settings=QUICK, measure=both | {"note10": measure("note10", 9)}
        )


def test_the_infeasible_answer_names_the_device(shared: Objectives) -> None:
    with pytest.raises(InfeasibleBudget, match=r"^no .* keeps --latency 1us on note10 \(at 95% (?!.*pixel)"):
        check_feasibility(shared, Budget.parse(latency={"pixel": "2.9ms", "note10": "1us"}))
    table = check_feasibility(shared, Budget.parse(latency=LIMITS, macs="9M")).table
    assert table["device"].tolist() == ["pixel", "note10", ""]
