"""What `nas search` prints of a latency that nobody measured."""

from pathlib import Path
from typing import Any

import pytest

from nas.cli.call import Call
from nas.cli.config import SearchConfig
from nas.cli.figures import show_figures
from nas.cli.verbs import search
from nas.cli.verbs.search import _show
from nas.pipeline.fleet import Outcome
from nas.pipeline.request import Limits, SearchRequest
from nas.report.words import probability
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives
from nas.search.result import SearchResult
from nas.search.run import SearchSettings, run_search
from search_spaces import Population, get_space
from tests.nas.from_macs import FromMacs

SPACE = get_space("mobilenet_v3_small_images", depths=(1,))
PREDICTED = FromMacs(SPACE, per_million=0.1)
QUICK = SearchSettings(EvolutionSettings(400), EvolutionSettings(300), finalists=3)


def searched(budget: Budget) -> SearchResult:
    """A network chosen by prediction alone."""
    objectives = Objectives(SPACE, PREDICTED, PREDICTED)
    return run_search(objectives, check_feasibility(objectives, budget), settings=QUICK)


@pytest.mark.parametrize("measured", [False, True])
def test_a_predicted_latency_is_said_to_be_one(capsys: pytest.CaptureFixture[str], measured: bool) -> None:
    def measure(population: Population) -> tuple[Any, ...]:
        return (PREDICTED.predict(population),) * 3

    budget = Budget.parse(latency="0.3ms")
    result = run_search(
        Objectives(SPACE, PREDICTED, PREDICTED),
        check_feasibility(Objectives(SPACE, PREDICTED, PREDICTED), budget),
        settings=QUICK,
        measure=measure if measured else None,
    )
    result.about = {"test_accuracy": 0.9, "test_accuracy_error": 0.03, "test_images": 100, "exports": [], "notes": []}
    _show(result, Path("run"))
    printed = " ".join(capsys.readouterr().out.split())
    chance = result.predicted["chance"]
    assert chance is not None
    sentence = f"latency is predicted, not measured: the budget holds with {probability(chance)} probability"
    assert (sentence in printed) != measured
    assert f"chosen network: {'budget met when measured' if measured else 'predicted, not measured'}" in printed
    assert "test accuracy 90.00 ± 3.00 % (standard error, 100 images)" in printed
    assert "run folder run" in printed


@pytest.mark.parametrize(("budget", "title"), [("0.3ms", "measured before, not proved"), (None, "no budget")])
def test_a_former_measurement_is_not_called_a_prediction(
    capsys: pytest.CaptureFixture[str], budget: str | None, title: str
) -> None:
    result = searched(Budget.parse(latency=budget))
    show_figures(result.to_dict() | {"measured": result.measured | {"latency_ms": 0.25}})  # as --from answers
    assert f"chosen network: {title}" in " ".join(capsys.readouterr().out.split())


def test_a_throughput_stands_beside_the_latency_that_it_means(capsys: pytest.CaptureFixture[str]) -> None:
    request = SearchRequest(budget=Limits(throughput="100000img/s", macs="3M"), batch=32)
    show_figures(searched(request.budget_of(request.limits["latency"])).to_dict())
    printed = " ".join(capsys.readouterr().out.split())
    assert "0.32 ms (throughput 100000img/s)" in printed
    assert "3 M " in printed


def test_each_network_of_a_fleet_is_told_of_as_one_alone_would_be(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcomes = []
    for device, better in (("board", {"onnx": "baselines/subnet.onnx"}), ("other", {})):
        result = searched(Budget.parse(latency="0.3ms"))
        verdict = f"A plain network is {'better' if better else 'worse'}."
        baselines = {"chosen": {}, "networks": [], "verdict": verdict, "better": None, "files": better}
        result.about = {"exports": [], "notes": ["Few images."], "baselines": baselines}
        (tmp_path / device).mkdir()
        result.write(tmp_path / device)
        outcomes.append(Outcome(device, tmp_path / device, result))
    monkeypatch.setattr(search, "search_fleet", lambda *args: outcomes)
    assert search.run(SearchConfig(device="board,other"), Call(tmp_path, "nas search")) == 0
    printed = capsys.readouterr().out.splitlines()
    page = (tmp_path / "report.html").read_text()
    for said in ("board: A plain network is better.", "other: A plain network is worse.", "board, other: Few images."):
        assert said in printed
        assert said.partition(": ")[2] in page
    assert f"board: baseline {tmp_path / 'board' / 'baselines/subnet.onnx'}" in printed


def test_a_verdict_without_networks_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    result = searched(Budget.parse(latency="0.3ms"))
    baselines = {"chosen": {}, "networks": [], "verdict": "No baseline keeps the budget.", "better": None, "files": {}}
    result.about = {"exports": [], "notes": [], "baselines": baselines}
    _show(result, Path("run"))
    assert "No baseline keeps the budget." in capsys.readouterr().out.splitlines()


def test_no_chance_is_shown_as_certainty() -> None:
    assert [probability(chance) for chance in (0.0, 0.004, 0.01, 0.951, 0.99, 0.994, 1.0)] == [
        "less than 1%",
        "less than 1%",
        "1%",
        "95%",
        "99%",
        "more than 99%",
        "more than 99%",
    ]
