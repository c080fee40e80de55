"""What is settled before anything is trained: devices, settings, and whether the budget can be kept."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from latency_tables.files import write_text
from nas.data.settings import DataSettings
from nas.devices import Device
from nas.devices.learning import KnownLatency
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable, Events, Transport
from nas.errors import InfeasibleBudget, MissingExtra
from nas.export.network_file import FileKind
from nas.pipeline import fleet, precisions
from nas.pipeline import search as pipeline
from nas.pipeline.devices import file_kinds_of, named_devices, not_written
from nas.pipeline.given import space_of
from nas.pipeline.remarks import precision_remarks
from nas.pipeline.request import Limits, SearchRequest, where_images_are
from nas.pipeline.same_search import origin, settings_of
from nas.pipeline.search import prepare_task
from nas.progress import Listener
from nas.search.budget import Budget
from nas.search.feasibility import Feasibility, check_feasibility
from nas.search.objectives import Objectives
from nas.search.run import MEASUREMENTS, identity_of
from search_spaces import get_space
from search_spaces.settings import SpaceSettings
from tests.nas.from_macs import FromMacs

SPACE = {"name": "mobilenet_v3_small_images", "depths": [1, 2], "resolutions": [32]}


@pytest.fixture
def request_(tmp_path: Path) -> SearchRequest:
    return SearchRequest(space=SpaceSettings.from_dict(SPACE), runs=str(tmp_path))


@pytest.fixture
def devices(tmp_path: Path) -> list[Device]:
    return [Device(DeviceSpec("board", transport="ssh", host="me@there"), folder=tmp_path)]


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the devices whose latency was learnt."""
    names: list[str] = []

    def learn(device: Device, *rest: Any) -> KnownLatency:
        names.append(device.name)
        return KnownLatency(FromMacs(get_space(**SPACE), std=0.0), "MACs")

    for module in (pipeline, precisions):
        monkeypatch.setattr(module, "learn_device", learn)
    return names


def test_the_budget_is_resolved_once_and_checked_as_soon_as_it_can_be(
    request_: SearchRequest, devices: list[Device], learnt: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, Budget]] = []

    def watched(objectives: Objectives, budget: Budget, seed: int) -> Feasibility:
        asked.append((len(learnt), budget))
        return check_feasibility(objectives, budget, seed)

    monkeypatch.setattr(pipeline, "check_feasibility", watched)
    task = prepare_task(request_, devices, Budget.parse(latency="50%", macs="60%"))
    (before, on_paper), (after, whole) = asked
    assert (before, after) == (0, 1)  # before and after the device was measured
    assert [(limit.metric.flag, limit.relative) for limit in on_paper.limits] == [("macs", True)]
    assert [(limit.metric.flag, limit.relative) for limit in whole.limits] == [("latency", True), ("macs", False)]
    largest = float(get_space(**SPACE).costs(get_space(**SPACE).max[None]).macs[0])
    assert [limit.value for limit in task.feasibility.budget.limits] == pytest.approx([largest / 2e6, 0.6 * largest])
    assert len(task.feasibility.starts)
    asked.clear()
    prepare_task(request_, devices, Budget.parse(macs="60%"))
    assert len(asked) == 1  # the device adds nothing to what limits on paper ask for


@pytest.mark.parametrize("typed", [{"macs": "1K"}, {"macs": "1K", "latency": "50%"}])
def test_a_limit_on_paper_that_nothing_keeps_is_refused_before_a_device_is_measured(
    request_: SearchRequest, devices: list[Device], learnt: list[str], typed: dict[str, str]
) -> None:
    with pytest.raises(InfeasibleBudget, match="keeps --macs 1K"):
        prepare_task(request_, devices, Budget.parse(**typed))
    assert not learnt


def test_a_latency_that_nothing_keeps_is_refused(
    request_: SearchRequest, devices: list[Device], learnt: list[str]
) -> None:
    with pytest.raises(InfeasibleBudget, match="keeps --latency 1us"):
        prepare_task(request_, devices, Budget.parse(latency="1us"))
    assert learnt == ["board"]


def test_an_unknown_strategy_is_refused_before_a_device_is_measured(
    request_: SearchRequest, devices: list[Device], learnt: list[str]
) -> None:
    with pytest.raises(ValueError, match="no search strategy 'annealing'; known: evolution, gradient, nsga2, random"):
        prepare_task(replace(request_, strategy="annealing"), devices, Budget.parse(latency="50%"))
    assert not learnt


def averaging() -> nn.Module:
    """TFLite has this pooling of maps of odd size only."""
    pool = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), pool, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))


def test_what_a_file_cannot_hold_is_refused_before_a_device_is_measured(
    devices: list[Device], learnt: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    torch.save(averaging().state_dict(), tmp_path / "w.pth")
    model, weights = f"{__name__}:averaging", str(tmp_path / "w.pth")
    given = SearchRequest(model=model, weights=weights, data=DataSettings(resolution=32), runs=str(tmp_path))
    said = (
        r"layer .*: TFLite has no average pooling that leaves this padding out .*\(at 20 pixels\); type --format onnx"
    )
    with pytest.raises(ValueError, match=said):
        prepare_task(replace(given, format="onnx,tflite"), devices, Budget.parse(macs="90%"))
    assert not learnt
    prepare_task(given, devices, Budget.parse(macs="90%"))
    assert learnt == ["board"]
    monkeypatch.setattr("nas.export.layer_graph.MOST_BYTES", 100)
    with pytest.raises(ValueError, match="GB of weights, and an ONNX or TFLite file holds at most"):
        prepare_task(given, devices, Budget.parse(macs="90%"))
    assert learnt == ["board"]


PHONES = [("TFLite", "float32"), ("litert", "float16"), ("litert", "float32")]


@pytest.mark.parametrize(("runtime", "precision"), PHONES)
def test_a_phone_that_is_not_here_gets_its_own_kind_of_file_and_onnx(
    request_: SearchRequest, runtime: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra tflite")
    phone = Device(DeviceSpec("phone", transport="none", runtime=runtime, precision=precision))
    space, onnx, tflite = space_of(request_), FileKind(), FileKind("tflite")
    kinds = file_kinds_of(request_, [phone], space)
    assert kinds == [tflite, onnx]
    assert not not_written([phone], kinds, space)
    assert file_kinds_of(replace(request_, precision="int8"), [phone], space) == [tflite, FileKind("onnx", "int8")]
    pooling = space_of(SearchRequest(model=f"{__name__}:averaging", data=DataSettings(resolution=32)))
    kinds = file_kinds_of(request_, [phone], pooling)
    assert kinds == [onnx]
    (said,) = not_written([phone], kinds, pooling)
    assert said.startswith("phone runs TFLite files, and none was written: layer ")
    monkeypatch.setattr("nas.export.network_file.find_spec", lambda name: None)
    assert file_kinds_of(request_, [phone], space) == [onnx]
    (said,) = not_written([phone], [onnx], space)
    assert "pip install 'shrinkwrap-nas[tflite]'" in said
    with pytest.raises(MissingExtra):  # it was asked for
        file_kinds_of(replace(request_, format="tflite"), [phone], space)


def test_bytes_are_those_of_the_file_whatever_the_device_computes_in(
    request_: SearchRequest, learnt: list[str]
) -> None:
    found = {}
    for precision in ("float32", "float16", "int8"):
        device = Device(DeviceSpec("board", transport="ssh", host="me@there", runtime="openvino", precision=precision))
        task = prepare_task(request_, [device], Budget.parse(size="10MB", memory="10MB"))
        assert task.kinds == [FileKind("onnx", "int8" if precision == "int8" else "float32")]
        found[precision] = [row["max_net"] for row in task.feasibility.rows]
        halved = precision_remarks([device])
        assert bool(halved) == (precision == "float16")
    assert found["float16"] == found["float32"] > found["int8"]
    assert precision_remarks([Device(DeviceSpec("a", transport="none", runtime="litert", precision="float16"))])[
        0
    ].startswith("The file is in float32, and a computes it in float16: ")


def test_a_limit_that_decides_nothing_is_said_before_anything_is_trained(
    request_: SearchRequest, devices: list[Device], learnt: list[str]
) -> None:
    said: list[str] = []
    prepare_task(request_, devices, Budget.parse(latency="1s", macs="60%"), Listener(said.append))
    assert said[-1].startswith("The limit of 1000 ms on latency decides nothing: the largest network needs ")


def test_memory_is_that_of_all_images_of_a_batch(request_: SearchRequest, learnt: list[str]) -> None:
    spec, budget = DeviceSpec("board", transport="ssh", host="me@there"), Budget.parse(memory="1GB")
    one, eight = (
        prepare_task(request_, [Device(spec, batch=batch)], budget).feasibility.rows[0]["max_net"] for batch in (1, 8)
    )
    assert eight == pytest.approx(8 * one)


def test_what_is_known_of_a_device_is_not_learnt_again(
    request_: SearchRequest, devices: list[Device], learnt: list[str]
) -> None:
    known = KnownLatency(FromMacs(get_space(**SPACE), std=0.0), "known before")
    task = prepare_task(request_, devices, Budget.parse(latency="50%"), learnt={"board": known, "other": known})
    assert task.known == {"board": known}
    assert not learnt


def test_sizes_are_those_of_the_images_own_classes(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "images" / name / f"{i}.png").touch()
    data = DataSettings(name="folder", root=str(tmp_path / "images"))
    request = SearchRequest(data=data, init="efficientnet_lite0", runs=str(tmp_path))
    assert space_of(request).options["num_classes"] == 3


def test_where_the_images_are_now_is_kept_for_later_commands(tmp_path: Path) -> None:
    data = DataSettings(name="folder", root=str(tmp_path))
    moved = where_images_are(SearchRequest(data=data))
    assert moved is not None
    assert moved["root"] == str(tmp_path)
    assert where_images_are(SearchRequest()) is None
    assert where_images_are(SearchRequest(supernet="cifar10")) is None
    assert where_images_are(SearchRequest(supernet="cifar10", moved_data=data)) == data.portable()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"budget": Limits(macs="50%")}, "budget"),
        ({"seed": 1}, "seed"),
        ({"train_time": "1min"}, "supernet"),
        ({"batch": 8}, "conditions"),
    ],
)
def test_another_search_is_refused_before_anything_is_learnt(
    changed: dict[str, Any], said: str, request_: SearchRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(request: SearchRequest) -> None:
        devices = named_devices(request)
        budget = Budget.parse(**request.limits)
        known = identity_of(budget, request.seed, settings_of(request), "cpu") | origin(request, devices)
        write_text(tmp_path / "search.json", json.dumps(known))

    def never(*_: Any) -> None:
        raise AssertionError("something was learnt")

    monkeypatch.setattr(pipeline, "prepare_task", never)
    request = replace(request_, budget=Limits(macs="60%"))
    begin(request)
    with pytest.raises(ValueError, match=rf"another search .it differs in {said}"):
        pipeline.search(replace(request, **changed), tmp_path)
    with pytest.raises(AssertionError):
        pipeline.search(request, tmp_path)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two boards that do not answer, of which enough is known; training is a failure of the test."""

    def never(*_: Any) -> None:
        raise AssertionError("a supernet was asked for")

    def boards(request: SearchRequest, listener: Listener) -> list[Device]:
        cards = [DeviceSpec(name, transport="ssh", host="me@there") for name in request.device.split(",")]
        return [Device(each, folder=Path(request.runs), transport=Silent()) for each in cards]

    for module in (pipeline, fleet, precisions):
        monkeypatch.setattr(module, "named_devices", boards)
        monkeypatch.setattr(module, "get_supernet", never)


class Silent(Transport):
    """A board that is not there."""

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        raise DeviceUnavailable("it is not there")


@pytest.mark.usefixtures("absent", "learnt")
def test_an_absent_device_is_found_before_anything_is_trained(request_: SearchRequest, tmp_path: Path) -> None:
    request = replace(request_, device="board", budget=Limits(latency="50%", macs="2M"))
    for search in (pipeline.search, precisions.search_precisions):
        with pytest.raises(DeviceUnavailable, match="it is not there"):
            search(request, tmp_path / search.__name__)
    outcomes = fleet.search_fleet(replace(request, device="board,other"), tmp_path / "fleet")
    assert [str(outcome.error) for outcome in outcomes] == ["it is not there"] * 2


@pytest.mark.usefixtures("absent", "learnt")
def test_a_search_that_has_measured_goes_on_without_the_device(request_: SearchRequest, tmp_path: Path) -> None:
    write_text(tmp_path / "run" / MEASUREMENTS, "session,architecture\n")
    with pytest.raises(AssertionError, match="a supernet was asked for"):
        pipeline.search(replace(request_, device="board", budget=Limits(latency="50%")), tmp_path / "run")


@pytest.mark.parametrize(("batch", "throughput", "refused"), [(1, "100img/s", True), (16, "100img/s", False)])
def test_a_throughput_needs_the_batch_that_the_device_is_known_at(
    batch: int, throughput: str, refused: bool, request_: SearchRequest, tmp_path: Path
) -> None:
    asked = replace(request_, device="jetson-tx2", batch=batch, budget=Limits(throughput=throughput))
    devices = pipeline.named_devices(asked)
    budget = Budget.parse(latency=asked.limits["latency"])
    if refused:
        with pytest.raises(ValueError, match="jetson-tx2 is known at 16; type --batch 16"):
            prepare_task(asked, devices, budget)
    else:
        assert prepare_task(asked, devices, budget).feasibility.rows[0]["limit"] == 160
