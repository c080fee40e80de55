"""Float32 or int8: which devices are searched, which file wins, and what is said when one of them cannot."""

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.devices import Device, get_device
from nas.devices.learning import KnownLatency
from nas.devices.spec import DeviceSpec
from nas.errors import BudgetMissed, InfeasibleBudget
from nas.pipeline import precisions
from nas.pipeline.elapsed import Elapsed
from nas.pipeline.precisions import in_precision, search_precisions
from nas.pipeline.request import Limits, SearchRequest
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives
from nas.search.result import SearchResult
from nas.search.run import SearchSettings, run_search
from search_spaces import Population, get_space
from search_spaces.settings import SpaceSettings
from tests.nas.from_macs import FromMacs

SPACE = get_space("mobilenet_v3_small_images", depths=(1, 2))
QUICK = SearchSettings(EvolutionSettings(200), EvolutionSettings(200), finalists=2)
REQUEST = SearchRequest(budget=Limits(latency="60%"), space=SpaceSettings(depths=(1, 2)))


@pytest.mark.parametrize(
    ("name", "precision", "expected"),
    [
        ("cpu", "int8", "cpu-int8"),
        ("cpu-int8", "float32", "cpu"),
        ("cpu-litert", "int8", "cpu-litert-int8"),
        ("cpu-litert-int8", "int8", "cpu-litert-int8"),
    ],
)
def test_the_other_precision_has_a_card_of_its_own(name: str, precision: str, expected: str, tmp_path: Path) -> None:
    found = in_precision(get_device(name, folder=tmp_path), precision, tmp_path)
    assert found.spec == get_device(expected, folder=tmp_path).spec
    assert found.table.folder == tmp_path / expected


def test_a_device_without_such_a_card_gets_one(tmp_path: Path) -> None:
    spec = DeviceSpec("board", aliases=("b",), transport="ssh", host="me@there", threads=4)
    found = in_precision(Device(spec, folder=tmp_path / "board"), "int8", tmp_path)
    assert found.spec == replace(spec, name="board-int8", aliases=(), precision="int8")
    assert found.table.folder == tmp_path / "board-int8"


def test_devices_that_cannot_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ncnn, which cpu-ncnn runs, has no int8"):
        in_precision(get_device("cpu-ncnn", folder=tmp_path), "int8", tmp_path)
    published = Device(DeviceSpec("phone of a paper", transport="none"), folder=tmp_path)
    with pytest.raises(ValueError, match="known by published figures alone"):
        in_precision(published, "int8", tmp_path)
    with pytest.raises(ValueError, match="--precision auto is for one device, got cpu,cpu-litert"):
        search_precisions(replace(REQUEST, device="cpu,cpu-litert"), tmp_path)


class Steps:
    """The steps of `nas.pipeline.search`: a search by MACs alone, with files as a test says."""

    def __init__(self, files: dict[str, tuple[float, bool]]) -> None:
        self.files = files
        self.budgets: dict[str, Budget] = {}
        self.infeasible: set[str] = set()
        self.missed: set[str] = set()

    def learn(self, device: Device, *rest: Any) -> KnownLatency:
        return KnownLatency(FromMacs(SPACE, 1.0 if device.spec.precision == "float32" else 0.5), "MACs")

    def prepare_task(self, request: SearchRequest, devices: list[Device], budget: Budget, *rest: Any) -> Any:
        precision = devices[0].spec.precision
        self.budgets[precision] = budget
        if precision in self.infeasible:
            raise InfeasibleBudget("nothing is that fast")
        return SimpleNamespace(precision=precision, budget=budget, known=self.learn(devices[0]))

    def run_task(
        self,
        request: SearchRequest,
        task: Any,
        trained: Any,
        folder: Path,
        elapsed: Elapsed,
        listener: Any,
        command: str,
    ) -> SearchResult:
        time.sleep(0.06)
        if task.precision in self.missed:
            raise BudgetMissed("measured, and none kept it")
        objectives = Objectives(SPACE, FromMacs(SPACE, 0.1), task.known.predictor, precision=task.precision)

        def measure(population: Population) -> Any:
            latency = task.known.predictor.predict(population)
            return latency, latency, latency

        result = run_search(
            objectives,
            check_feasibility(objectives, task.budget),
            settings=QUICK,
            folder=folder,
            device="d",
            measure=measure,
        )
        accuracy, accepted = self.files[task.precision]
        name = f"subnet.{task.precision}.onnx"
        (folder / name).write_text(f"the {task.precision} file")
        file = {"file": name, "format": "onnx", "precision": task.precision, "bytes": 5, "batch": 1}
        file |= {"peak_activation_bytes": 7, "accepted": accepted, "accuracy": accuracy, "test_accuracy": accuracy}
        file |= (
            {"float32_accuracy": 0.9, "float32_test_accuracy": 0.9, "accuracy_drop": 0.0212}
            if task.precision == "int8"
            else {}
        )
        file |= {"objective": "accuracy", "test_accuracy_error": 0.01}
        parity = {"n": 4, "top1_agreement": 1.0, "max_abs_difference": 0.1}
        (folder / "baselines").mkdir(exist_ok=True)
        (folder / "baselines" / "subnet.onnx").write_text(f"a baseline beside {task.precision}")
        baselines = {"files": {"ONNX float32": "baselines/subnet.onnx"}}
        result.about = {"exports": [file | {"parity": parity}], "command": command, "baselines": baselines}
        result.about["seconds"] = round(elapsed.seconds, 2)
        result.write(folder)
        return result


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    trained = SimpleNamespace(data=SimpleNamespace(require_labels=lambda purpose: None))
    made = Steps({"float32": (0.90, True), "int8": (0.92, True)})
    for name, step in (("learn_device", made.learn), ("prepare_task", made.prepare_task), ("run_task", made.run_task)):
        monkeypatch.setattr(precisions, name, step)
    monkeypatch.setattr(precisions, "check_reachable", lambda *_: None)
    monkeypatch.setattr(precisions, "get_supernet", lambda request, listener: trained)
    return made


def test_the_more_accurate_file_wins_and_both_are_compared(steps: Steps, tmp_path: Path) -> None:
    result = search_precisions(REQUEST, tmp_path, command="nas search --precision auto")
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["architecture"] == result.architecture
    float32, int8 = record["precisions"]
    assert [float32["chosen"], int8["chosen"]] == [False, True]
    assert (float32["device"], int8["device"]) == ("cpu", "cpu-int8")
    assert int8["architecture"] == result.architecture
    assert int8["macs"] > float32["macs"], "in half the time, a larger network fits"
    assert int8["latency_ms"] == record["measured"]["latency_ms"]
    assert (tmp_path / "subnet.int8.onnx").read_text() == "the int8 file"
    assert (tmp_path / "baselines" / "subnet.onnx").read_text() == "a baseline beside int8"
    assert {path.name for path in tmp_path.iterdir()} >= {"float32", "int8", "report.html", "pareto.csv"}
    assert not (tmp_path / "search.json").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Float32 or int8" in page
    (chosen,) = re.findall(r'<tr class="chosen">(.*?)</tr>', page.partition("Float32 or int8")[2], flags=re.DOTALL)[:1]
    assert "cpu-int8" in chosen
    assert int8["architecture"] in chosen


def test_the_time_is_that_of_both_searches_however_often_they_were_stopped(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "refuse_other_search", lambda *_: None)  # these steps are not the pipeline's
    result = search_precisions(REQUEST, tmp_path)
    own = [json.loads((tmp_path / each / "result.json").read_text())["seconds"] for each in ("float32", "int8")]
    assert result.about["seconds"] >= round(sum(own) - 0.05, 1)
    assert json.loads((tmp_path / "result.json").read_text())["seconds"] == result.about["seconds"]
    (tmp_path / "seconds.json").write_text('{"seconds": 60.0}')
    assert search_precisions(REQUEST, tmp_path).about["seconds"] > 60


def test_both_precisions_are_judged_by_what_was_asked_for(steps: Steps, tmp_path: Path) -> None:
    steps.files |= {"float32": (0.90, True), "int8": (0.90, True)}
    search_precisions(REQUEST, tmp_path / "first")
    float32, int8 = json.loads((tmp_path / "first" / "result.json").read_text())["precisions"]
    slower, faster = sorted((float32, int8), key=lambda found: -found["latency_ms"])
    gain = 1 - (faster["latency_ms"] / slower["latency_ms"]) ** 0.07
    assert gain > 0
    steps.files[slower["precision"]] = (0.90 * (1 + gain / 2), True)
    for objective, chosen in (("accuracy", slower), ("mnas", faster)):
        search_precisions(replace(REQUEST, objective=objective), tmp_path / objective)
        found = json.loads((tmp_path / objective / "result.json").read_text())["precisions"]
        assert [each["precision"] for each in found if each["chosen"]] == [chosen["precision"]]
    steps.files[slower["precision"]] = (0.90 * (1 + gain / 2), False)
    assert not search_precisions(replace(REQUEST, objective="mnas"), tmp_path / "rejected").about["notes"]


def test_percentages_are_of_one_max_net_for_both(steps: Steps, tmp_path: Path) -> None:
    search_precisions(REQUEST, tmp_path)
    limits = [budget.limits[0] for budget in steps.budgets.values()]
    assert limits[0] == limits[1]
    assert limits[0].value == pytest.approx(0.6 * SPACE.costs(SPACE.max[None]).macs[0] / 1e6)
    assert not limits[0].relative
    assert limits[0].typed.endswith("ms")


def test_what_neither_can_keep_on_paper_is_refused_before_the_device_is_measured(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Device] = []
    monkeypatch.setattr(precisions, "learn_device", lambda device, *_: measured.append(device))
    with pytest.raises(InfeasibleBudget, match="in float32, .*; in int8, "):
        search_precisions(replace(REQUEST, budget=Limits(latency="60%", macs="1K")), tmp_path)
    assert not measured
    monkeypatch.setattr(precisions, "learn_device", steps.learn)
    steps.infeasible = {"float32"}
    least = f"{2 * SPACE.costs(SPACE.min[None]).params[0] / 1e3:g}KB"  # int8 takes half of that, float32 twice as much
    search_precisions(replace(REQUEST, budget=Limits(latency="60%", size=least)), tmp_path)
    assert set(steps.budgets) == {"float32", "int8"}


def test_a_search_goes_on_with_the_amounts_that_it_was_begun_with(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "refuse_other_search", lambda *_: None)  # these steps are not the pipeline's
    search_precisions(REQUEST, tmp_path)
    before = dict(steps.budgets)
    # More has been measured on the device since, by which its max net takes longer.
    monkeypatch.setattr(precisions, "learn_device", lambda *_: KnownLatency(FromMacs(SPACE, 1.2), "MACs"))
    search_precisions(REQUEST, tmp_path)
    assert steps.budgets == before
    search_precisions(REQUEST, tmp_path / "anew")
    assert steps.budgets != before


def test_killed_while_the_better_one_is_taken_over_no_record_stands_beside_files_of_another(
    steps: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "refuse_other_search", lambda *_: None)  # these steps are not the pipeline's
    search_precisions(REQUEST, tmp_path)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(precisions.shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            search_precisions(REQUEST, tmp_path)
    assert not (tmp_path / "result.json").exists()
    search_precisions(REQUEST, tmp_path)
    assert (tmp_path / "result.json").exists()
    steps.missed |= {"float32", "int8"}
    with pytest.raises(BudgetMissed):
        search_precisions(REQUEST, tmp_path)
    assert not (tmp_path / "result.json").exists()


def test_both_accuracies_of_a_line_are_those_that_it_is_judged_by() -> None:
    file = {"objective": "balanced_accuracy", "accuracy": 0.9, "balanced_accuracy": 0.7, "accepted": True, "bytes": 1}
    file |= {"peak_activation_bytes": 1, "test_accuracy": 0.91, "test_accuracy_error": 0.01}
    file |= {"test_balanced_accuracy": 0.71, "test_balanced_accuracy_error": 0.02}
    result: Any = SimpleNamespace(
        status="met", architecture="a", measured={"latency_ms": 1.0}, costs={"macs": 1}, about={"exports": [file]}
    )
    line = precisions._found(result)
    assert (line["accuracy"], line["test_balanced_accuracy"], line["test_balanced_accuracy_error"]) == (0.7, 0.71, 0.02)


def test_a_rejected_file_does_not_win(steps: Steps, tmp_path: Path) -> None:
    steps.files["int8"] = (0.92, False)
    search_precisions(REQUEST, tmp_path)
    record = json.loads((tmp_path / "result.json").read_text())
    assert [found["chosen"] for found in record["precisions"]] == [True, False]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "rejected: lost too much accuracy" in page
    (note,) = record["notes"]
    assert note.startswith(
        "The best network in int8 is more accurate on search-validation (92.00% against 90.00%), but"
    )
    assert note.endswith("add --max-accuracy-drop 2.2.")
    assert note in page
    steps.files["int8"] = (0.89, False)
    search_precisions(REQUEST, tmp_path / "less")
    assert json.loads((tmp_path / "less" / "result.json").read_text())["notes"] == []


@pytest.mark.parametrize(("failing", "error"), [("infeasible", "that fast"), ("missed", "none kept it")])
def test_one_that_cannot_keep_the_budget_leaves_the_other(
    failing: str, error: str, steps: Steps, tmp_path: Path
) -> None:
    getattr(steps, failing).add("float32")
    search_precisions(REQUEST, tmp_path)
    float32, int8 = json.loads((tmp_path / "result.json").read_text())["precisions"]
    assert int8["chosen"]
    assert not float32["chosen"]
    assert error in float32["reason"]
    assert error in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_where_neither_can_both_are_said(steps: Steps, tmp_path: Path) -> None:
    steps.missed |= {"float32", "int8"}
    with pytest.raises(BudgetMissed, match=r"in float32, measured, .*; in int8, measured, "):
        search_precisions(REQUEST, tmp_path)
    steps.infeasible |= {"float32", "int8"}
    with pytest.raises(InfeasibleBudget, match="in float32, nothing is that fast; in int8, nothing"):
        search_precisions(REQUEST, tmp_path)
