"""Another budget is answered by what a finished search learnt, as a whole search would answer it."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.errors import InfeasibleBudget
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.feasibility import check_feasibility
from nas.search.latency import Latency
from nas.search.objectives import Objectives
from nas.search.run import SearchSettings, run_search
from nas.search.warm_start import answer_from, load_run, save_run
from predictors.accuracy import AccuracyPredictor
from predictors.latency import LatencyPredictor
from predictors.latency.transfer import DeviceCosts, SpaceLatency
from predictors.operators import WIDTH
from search_spaces import Population, get_space

SPACE = get_space("mobilenet_v3_small_images", depths=(1, 2))
QUICK = SearchSettings(EvolutionSettings(2000), EvolutionSettings(1500), finalists=4, rounds=2)


def true_latency(population: Population) -> Any:
    return 0.2 + SPACE.costs(population).macs / 5e6


def measure(population: Population) -> tuple[Any, ...]:
    latency = true_latency(population)
    return latency, latency * 0.99, latency * 1.01


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Objectives, Any]:
    folder, rng = tmp_path_factory.mktemp("searched"), np.random.default_rng(0)
    rows = SPACE.sample(40, rng)
    accuracy = 0.7 + 0.03 * np.log(SPACE.costs(rows).macs / 1e6) + 0.002 * rng.normal(size=40)
    latency = LatencyPredictor(SPACE).fit().adapt(rows, true_latency(rows))
    # Operator costs alone stand for a second device, which nobody measures.
    other = SpaceLatency(DeviceCosts(np.full(WIDTH, 0.01), 0.05, 0.2, ("elsewhere",), 9), SPACE)
    objectives = Objectives(SPACE, AccuracyPredictor(SPACE).fit(rows, accuracy), {"cpu": latency, "phone": other})
    result = run_search(
        objectives,
        check_feasibility(objectives, Budget.parse(latency={"cpu": "80%"})),
        settings=QUICK,
        folder=folder,
        measure={"cpu": measure},
    )
    save_run(folder, objectives, {"cpu": (), "phone": ("p",)}, {"device": "cpu, phone", "seed": 0})
    return folder, objectives, result


def test_the_predictors_come_back_as_they_were(searched: tuple[Path, Objectives, Any]) -> None:
    folder, objectives, _ = searched
    previous = load_run(folder)
    rows = SPACE.sample(50, np.random.default_rng(1))
    for key in (Latency("cpu"), Latency("phone")):
        for now, before in zip(
            previous.objectives.predicted_latency(rows, key), objectives.predicted_latency(rows, key), strict=True
        ):
            np.testing.assert_allclose(now, before, rtol=1e-3)
    np.testing.assert_array_equal(previous.objectives.predicted_accuracy(rows), objectives.predicted_accuracy(rows))
    assert previous.devices == {"cpu": (), "phone": ("p",)}


def test_another_budget_is_answered_as_a_whole_search_would(searched: tuple[Path, Objectives, Any]) -> None:
    folder, _, _ = searched
    previous, budget = load_run(folder), Budget.parse(latency={"cpu": "70%"}, macs="9M")
    found = answer_from(previous, budget)
    before = load_run(folder).objectives
    whole = run_search(before, check_feasibility(before, budget), settings=SearchSettings())
    assert found.predicted["accuracy"] == pytest.approx(whole.predicted["accuracy"], abs=2e-4)
    assert found.status == "predicted"
    chance = found.predicted["chance@cpu"]
    assert chance is not None
    assert chance >= 0.95
    assert found.costs["macs"] <= 9e6
    with pytest.raises(InfeasibleBudget, match="--latency 1us on phone"):
        answer_from(previous, Budget.parse(latency={"cpu": "70%", "phone": "1us"}))


def test_what_was_proved_is_said_to_be_met(searched: tuple[Path, Objectives, Any]) -> None:
    folder, _, result = searched
    assert result.status == "met"
    bound = result.proof["bound_ms@cpu"]
    previous = load_run(folder)
    found = answer_from(previous, Budget.parse(latency={"cpu": f"{bound}ms"}))
    assert (found.status, found.architecture) == ("met", result.architecture)
    assert found.measured["latency_ms@cpu"] == result.measured["latency_ms@cpu"]
    below = answer_from(previous, Budget.parse(latency={"cpu": f"{bound * 0.9}ms"}))
    assert below.status == "predicted"
    assert below.architecture != result.architecture


def test_what_was_measured_once_is_not_proved(searched: tuple[Path, Objectives, Any], tmp_path: Path) -> None:
    _, objectives, _ = searched
    result = run_search(
        objectives,
        check_feasibility(objectives, Budget.parse(size="60%")),
        settings=QUICK,
        folder=tmp_path,
        measure={"cpu": measure},
    )
    save_run(tmp_path, objectives, {"cpu": (), "phone": ()}, {})
    assert len(result.proof["sessions_ms@cpu"]) == 1
    limit = f"{2 * result.proof['bound_ms@cpu']}ms"
    assert answer_from(load_run(tmp_path), Budget.parse(latency={"cpu": limit}, size="60%")).status == "predicted"


@pytest.mark.parametrize(
    ("field", "value"), [("objective", 10**19), ("objective", "speed"), ("seed", "x"), ("device", ["cpu"])]
)
def test_what_the_record_repeats_is_checked_too(
    searched: tuple[Path, Objectives, Any], tmp_path: Path, field: str, value: Any
) -> None:
    shutil.copytree(searched[0], tmp_path / "run")
    path = tmp_path / "run/state/state.json"
    document = json.loads(path.read_text())
    document["about"][field] = value
    inner = {name: part for name, part in document.items() if name != "sha256"}
    document["sha256"] = hashlib.sha256(json.dumps(inner, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"state\.json: about\.{field}"):
        load_run(tmp_path / "run")


def test_only_a_finished_search_can_be_asked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a finished search whose state was kept$"):
        load_run(tmp_path)
    (tmp_path / "pixel/state").mkdir(parents=True)
    (tmp_path / "pixel/state/state.json").touch()
    with pytest.raises(ValueError, match="it holds several, name one: .*/pixel"):
        load_run(tmp_path)
