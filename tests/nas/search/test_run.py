import json
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from nas.errors import BudgetMissed, InfeasibleBudget
from nas.search import run
from nas.search.budget import Budget
from nas.search.evolution.archive import Archive
from nas.search.evolution.settings import EvolutionSettings
from nas.search.feasibility import check_feasibility
from nas.search.latency import Latency
from nas.search.objectives import Objectives
from nas.search.result import OF_AN_ANSWER
from nas.search.run import SearchSettings, run_search
from search_spaces import Population, SearchSpace

QUICK = SearchSettings(EvolutionSettings(evaluations=2000), EvolutionSettings(evaluations=1500), finalists=6, rounds=3)
BUDGET = Budget.parse(latency="3.2ms", macs="2.5M")


class Bench:
    """A pretended device and supernet: slower than predicted by `factor`, counting what it is asked.

    `later` is by what a network is slower when it is measured for the second time and ever after.
    """

    def __init__(
        self, objectives: Objectives, factor: float, dies_after: int | None = None, later: float = 1.0
    ) -> None:
        # Its own copies of the predictors: the truth must not move when the predictors learn.
        self.latency, self.accuracy = objectives.latency, objectives.accuracy
        self.factor, self.dies_after, self.later = factor, dies_after, later
        self.measured: list[str] = []
        self.sessions = 0
        self.evaluated: list[str] = []
        self.space = objectives.space

    def measure(self, population: Population) -> tuple[NDArray[np.float64], ...]:
        self._live()
        names = self.space.format(population)
        again = np.array([name in self.measured for name in names])
        self.measured += names
        self.sessions += 1
        median = self.latency.predict(population) * self.factor * np.where(again, self.later, 1)  # type: ignore[union-attr]
        return median, median * 0.97, median * 1.08

    def evaluate(self, population: Population) -> NDArray[np.float64]:
        self._live()
        self.evaluated += self.space.format(population)
        # Unlike what was predicted, so that the order of the finalists changes.
        return self.accuracy.predict(population) - 0.05 + 0.01 * (population.sum(axis=1) % 3)

    def _live(self) -> None:
        if self.dies_after is not None and self.sessions + len(self.evaluated) >= self.dies_after:
            raise KeyboardInterrupt


def test_winner_is_the_most_accurate_that_holds_when_measured(objectives: Objectives, tmp_path: Path) -> None:
    bench = Bench(objectives, factor=1.12)
    result = run_search(
        objectives,
        check_feasibility(objectives, BUDGET),
        settings=QUICK,
        folder=tmp_path,
        device="bench",
        measure=bench.measure,
        evaluate=bench.evaluate,
    )
    table = result.finalists
    sure = result.proof["bound_ms"] / result.measured["latency_ms"]
    assert 1.005 < sure < 1.04
    holds = table["measured_latency_ms"] * sure <= 3.2
    assert 0 < holds.sum() < len(table)
    best = table[holds].sort_values("measured_accuracy").iloc[-1]
    assert result.architecture == best["architecture"]
    assert best["sessions"] >= 3
    assert result.proof["sessions_ms"] == [best["measured_latency_ms"]] * best["sessions"]
    # What cannot win is neither measured again nor evaluated.
    assert (table[~holds]["sessions"] == 1).all()
    assert table["measured_accuracy"].notna().tolist() == holds.tolist()
    assert result.status == "met"
    assert result.measured["latency_ms"] == best["measured_latency_ms"] <= 3.2
    assert result.predicted["latency_ms"] == best["predicted_latency_ms"] != result.measured["latency_ms"]
    assert [b["met"] for b in result.budgets] == [True, True]
    assert [b["source"] for b in result.budgets] == ["measured", "paper"]
    np.testing.assert_array_equal(objectives.space.parse(result.architecture), result.genotype)

    record = json.loads((tmp_path / "result.json").read_text())
    assert record["status"] == "met"
    assert record["genotype"] == result.genotype.tolist()
    front = pd.read_csv(tmp_path / "pareto.csv")
    assert front["predicted_latency_ms"].is_monotonic_increasing
    assert front["predicted_accuracy"].is_monotonic_increasing
    assert {"cloud.csv", "finalists.csv", "convergence.csv", "measurements.csv"} <= {p.name for p in tmp_path.iterdir()}


def test_learns_from_a_device_that_is_slower_than_predicted(objectives: Objectives) -> None:
    bench = Bench(objectives, factor=1.3)
    taught: list[int] = []

    def refit(population: Population, latency_ms: NDArray[np.float64]) -> None:
        assert len(population) == len(latency_ms)
        taught.append(len(population))

    result = run_search(
        objectives, check_feasibility(objectives, BUDGET), settings=QUICK, measure=bench.measure, refit=refit
    )
    assert result.status == "met"
    assert result.rounds == 2
    assert taught == [6, 12]
    assert set(result.finalists["round"]) == {1, 2}
    assert objectives.latency_scale[Latency()] == pytest.approx(1.3)
    assert result.measured["latency_ms"] is not None
    assert result.measured["latency_ms"] <= 3.2
    assert len(set(bench.measured)) == 12


def test_budget_that_nothing_keeps_when_measured(objectives: Objectives, tmp_path: Path) -> None:
    bench = Bench(objectives, factor=5)
    assert QUICK.rounds == 3
    with pytest.raises(BudgetMissed) as error:
        run_search(
            objectives,
            check_feasibility(objectives, BUDGET),
            settings=QUICK,
            folder=tmp_path,
            device="bench",
            measure=bench.measure,
        )
    assert "18 finalists kept 3.2 ms when measured on bench" in str(error.value)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["status"] == "missed"
    assert record["budgets"][0]["met"] is False
    # It came as close as it could: later rounds are faster.
    by_round = pd.read_csv(tmp_path / "finalists.csv").groupby("round")["measured_latency_ms"].min()
    assert by_round[3] < by_round[1]


def test_without_a_device_it_says_predicted_and_how_sure(objectives: Objectives) -> None:
    result = run_search(objectives, check_feasibility(objectives, BUDGET), settings=QUICK)
    assert result.status == "predicted"
    assert result.measured == {"accuracy": None, "latency_ms": None, "p10_ms": None, "p90_ms": None}
    assert result.predicted["chance"] is not None
    assert result.predicted["chance"] >= 0.95
    assert result.budgets[0]["source"] == "predicted"


def test_paper_budgets_need_no_latency_predictor(objectives: Objectives, everything: NDArray[np.int16]) -> None:
    bare = Objectives(objectives.space, objectives.accuracy, None)
    result = run_search(bare, check_feasibility(bare, Budget.parse(macs="3M")), settings=QUICK)
    allowed = everything[objectives.space.costs(everything).macs <= 3e6]
    assert result.predicted["accuracy"] == pytest.approx(objectives.accuracy.predict(allowed).max())
    assert result.costs["macs"] <= 3e6
    assert result.predicted["latency_ms"] is None
    assert list(result.cloud.columns) == ["predicted_accuracy", "macs"]


def test_killed_search_resumes_to_the_same_result(objectives: Objectives, tmp_path: Path) -> None:
    def run(folder: Path, bench: Bench) -> dict[str, object]:
        # Moves the predictor by all that was measured: what is known of later sessions must not be told too early.
        latency = copy(objectives.latency)

        def refit(population: Population, latency_ms: NDArray[np.float64]) -> None:
            latency.offset += 0.01 * latency_ms.sum()  # type: ignore[union-attr]

        taught = replace(objectives, latency=latency, latency_scale={})
        record = run_search(
            taught,
            check_feasibility(taught, BUDGET),
            settings=QUICK,
            folder=folder,
            measure=bench.measure,
            evaluate=bench.evaluate,
            refit=refit,
        ).to_dict()
        del record["search_seconds"]
        return record

    undisturbed = Bench(objectives, 1.3)
    expected = run(tmp_path / "whole", undisturbed)
    assert expected["rounds"] > 1  # type: ignore[operator]
    for share in (0.0, 0.1, 0.4, 0.7, 0.99):
        dies_after = int(share * (undisturbed.sessions + len(undisturbed.evaluated)))
        killed, resumed = Bench(objectives, 1.3, dies_after=dies_after), Bench(objectives, 1.3)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / f"killed at {share}", killed)
        assert run(tmp_path / f"killed at {share}", resumed) == expected
        assert killed.measured + resumed.measured == undisturbed.measured
        assert killed.evaluated + resumed.evaluated == undisturbed.evaluated
        for name in ("finalists.csv", "pareto.csv", "measurements.csv"):
            assert (tmp_path / f"killed at {share}" / name).read_text() == (tmp_path / "whole" / name).read_text()
    again = Bench(objectives, 1.3)
    assert run(tmp_path / "killed at 0.0", again) == expected
    assert not again.measured
    assert not again.evaluated


def test_a_folder_holds_one_search(objectives: Objectives, tmp_path: Path) -> None:
    run_search(objectives, check_feasibility(objectives, BUDGET), settings=QUICK, folder=tmp_path)
    with pytest.raises(ValueError, match=r"holds another search \(it differs in seed\)"):
        run_search(objectives, check_feasibility(objectives, BUDGET), settings=QUICK, folder=tmp_path, seed=1)
    feasibility = check_feasibility(objectives, BUDGET)
    run_search(objectives, feasibility, settings=QUICK, folder=tmp_path, origin={"supernet": "a"})
    with pytest.raises(ValueError, match=r"it differs in supernet\)"):
        run_search(objectives, feasibility, settings=QUICK, folder=tmp_path, origin={"supernet": "b"})
    (tmp_path / "search.json").write_text('{"seed": ')
    with pytest.raises(ValueError, match="search.json is not valid JSON"):
        run_search(objectives, check_feasibility(objectives, BUDGET), settings=QUICK, folder=tmp_path)


def test_infeasible_budget_writes_nothing(objectives: Objectives, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleBudget):
        run_search(objectives, check_feasibility(objectives, Budget.parse(latency="1us")), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_between_rounds_misses_no_budget(objectives: Objectives, tmp_path: Path) -> None:
    bench, predict = Bench(objectives, factor=5), objectives.accuracy.predict
    bench.accuracy = copy(objectives.accuracy)

    def impatient(population: Population, return_std: bool = False) -> object:
        if bench.sessions == 1:
            bench.sessions += 1
            raise KeyboardInterrupt
        return predict(population, return_std)

    objectives.accuracy.predict = impatient  # type: ignore[method-assign]
    feasibility = check_feasibility(objectives, BUDGET)
    with pytest.raises(KeyboardInterrupt):
        run_search(objectives, feasibility, settings=QUICK, folder=tmp_path, measure=bench.measure)
    assert bench.measured
    assert not (tmp_path / "result.json").exists()


def test_ctrl_c_while_searching_gives_the_best_so_far(objectives: Objectives) -> None:
    bench = Bench(objectives, 1.0)
    objectives.accuracy.interrupt_at_call(6)  # type: ignore[attr-defined]
    result = run_search(objectives, check_feasibility(objectives, BUDGET), settings=QUICK, measure=bench.measure)
    assert result.interrupted
    assert result.status == "predicted"
    assert not bench.measured


@pytest.mark.parametrize("moment", ["the first network", "the search that is aimed"])
def test_ctrl_c_before_anything_is_measured_ends_the_search(
    moment: str, objectives: Objectives, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(objectives, 1.0)
    feasibility, search = check_feasibility(objectives, BUDGET), run.run_strategy
    presses = iter([moment == "the first network", False, True])

    def pressed(name: str, space: SearchSpace, score: Any, **settings: Any) -> Archive:
        if next(presses):
            score = Mock(violations=Mock(side_effect=KeyboardInterrupt), objectives=Mock(side_effect=KeyboardInterrupt))
        return search(name, space, score, **settings)

    monkeypatch.setattr(run, "run_strategy", pressed)
    with pytest.raises(KeyboardInterrupt):
        run_search(objectives, feasibility, settings=QUICK, measure=bench.measure)
    assert not bench.measured


def test_the_record_of_an_answer_goes_before_files_of_another_come(objectives: Objectives, tmp_path: Path) -> None:
    """Killed in between, it is the folder of a search without an answer, not one of two answers."""
    feasibility, bench = check_feasibility(objectives, BUDGET), Bench(objectives, 1.0)
    options: dict[str, Any] = {"settings": QUICK, "folder": tmp_path, "measure": bench.measure}
    run_search(objectives, feasibility, **options)
    (tmp_path / "state").mkdir()
    for name in ("report.html", "state/state.json"):
        (tmp_path / name).touch()
    objectives.accuracy.interrupt_at_call(6)  # type: ignore[attr-defined]
    assert run_search(objectives, feasibility, record=False, **options).interrupted
    assert all((tmp_path / name).is_file() for name in OF_AN_ANSWER)
    run_search(objectives, feasibility, record=False, **options)
    assert not any((tmp_path / name).exists() for name in OF_AN_ANSWER)
    assert (tmp_path / "finalists.csv").is_file()
