"""Slow stretches, told from the reference; suspicious networks, measured again."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_board import FakeBoard

from latency_tables.table import read_rows
from nas.cli.call import Call
from nas.cli.config import MeasureConfig
from nas.cli.verbs import measure
from nas.devices.device import Device
from nas.devices.events import Machine, Start
from nas.devices.importing import import_table
from nas.devices.learning import check_again, device_predictor
from nas.devices.protocol import Protocol, Rounds, conditions
from nas.devices.spec import DeviceSpec
from nas.devices.throttling import find_slowdown
from nas.devices.transport import Events, Transport
from nas.progress import Listener
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")


@pytest.mark.parametrize("after", [3, 5, 7])
@pytest.mark.parametrize("factor", [1.2, 1.4, 2.0])
def test_a_step_of_the_reference_is_found_where_it_is(after: int, factor: float) -> None:
    reference = 3.0 * np.random.default_rng(after).normal(1, 0.01, 10)
    assert find_slowdown(reference) is None
    reference[after:] *= factor
    found = find_slowdown(reference)
    assert found is not None
    assert found.after == after
    assert found.factor == pytest.approx(factor, rel=0.05)


def test_one_disturbed_moment_and_a_device_that_speeds_up_are_no_slowdown() -> None:
    reference = np.full(10, 3.0)
    reference[4] *= 3
    assert find_slowdown(reference) is None
    assert find_slowdown(np.r_[np.full(5, 3.0), np.full(5, 2.0)]) is None


def test_rounds_that_slow_down_in_the_middle_are_said() -> None:
    ms = np.full((30, 3), 2.0) * np.random.default_rng(0).normal(1, 0.01, (30, 3))
    ms[12:] *= 1.4
    rounds = Rounds(Start(Machine(load_average=0.2)), ms, (8,) * 3, (0.0,) * 30, 0.3)
    (warning,) = [w for w in conditions([rounds], 1)[1] if w.startswith("throttling")]
    assert "from round 13 of 30 on" in warning
    assert "1.4" in warning


def test_of_stored_latencies_the_networks_to_measure_again_are_counted() -> None:
    def batch(n: int, ms: float) -> Rounds:
        noise = np.random.default_rng(n).normal(1, 0.01, (10, n + 1))
        return Rounds(Start(Machine(load_average=0.2)), ms * noise, (8,) * (n + 1), (0.0,) * 10, 0.3)

    found, warnings = conditions([batch(5, 2.0), batch(4, 2.0), batch(3, 3.0), batch(1, 3.0)], 1, stored=True)
    (warning,) = [each for each in warnings if each.startswith("throttling")]
    assert found["slowed"] == 4
    assert "from network 10 of 13 on" in warning
    assert "--again --samples 4" in warning


class Warming(FakeBoard):
    """A board that is slower from its second process on, until it is cool."""

    cool = False

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], **limits: float) -> Events:
        factor = 1.0 if self.cool or not self.asked else 1.5
        for event in super().run(job, models, **limits):  # type: ignore[arg-type]
            yield {**event, "ms": {key: ms * factor for key, ms in event["ms"].items()}} if "ms" in event else event


def test_networks_of_a_slow_device_can_be_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    board, protocol = Warming(), Protocol(rounds=12, runs=2)

    def here(name: str, **_: Any) -> Device:
        return Device(DeviceSpec("board"), folder=tmp_path, protocol=protocol, transport=board)

    def run(**settings: Any) -> str:
        assert measure.run(MeasureConfig(device="board", **settings), Call(tmp_path, "", frozenset())) == 0
        return "".join(capsys.readouterr())

    monkeypatch.setattr(measure, "get_device", here)
    monkeypatch.setattr(measure, "check_again", lambda device, space, progress: (None, []))
    with pytest.raises(ValueError, match="no network of .* is known on board to be measured again; leave --again out"):
        run(again=True)
    assert "nas measure --device board --again --samples 4" in " ".join(run(samples=14).split())
    slow = here("board").table.known(SPACE)
    board.cool = True
    assert "--again" not in run(samples=4, again=True)
    population, latency_ms = here("board").table.known(SPACE)
    np.testing.assert_array_equal(population, slow[0])
    np.testing.assert_allclose(latency_ms / slow[1], [1.0] * 10 + [1 / 1.5] * 4, rtol=1e-4)
    for settings, flag in (({"suggest": True}, "--suggest"), ({"source": "few.csv"}, "--import")):
        with pytest.raises(ValueError, match=f"leave {flag} out"):
            run(again=True, **settings)


def table(folder: Path, latency: np.ndarray, order: np.ndarray, **columns: np.ndarray) -> Path:
    population = SPACE.sample(len(latency), np.random.default_rng(0), tilt=1.5)
    names = ["space", "architecture", "latency_ms", "order", *columns]
    rows = zip(SPACE.format(population), latency, order, *columns.values(), strict=True)
    lines = [",".join(map(str, (SPACE.name, *row))) for row in rows]
    path = folder / "phone.csv"
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    return path


def macs(n: int) -> np.ndarray:
    population = SPACE.sample(n, np.random.default_rng(0), tilt=1.5)
    return 1 + 4 * SPACE.costs(population).macs / SPACE.costs(SPACE.max).macs


@pytest.mark.parametrize("reference", [True, False])
def test_an_imported_file_that_says_its_order_tells_of_a_slowdown(tmp_path: Path, reference: bool) -> None:
    order = np.random.default_rng(3).permutation(10)
    slow = np.where(order < 5, 1.0, 1.4)
    extra = {"reference_ms": 2.0 * slow} if reference else {}
    path = table(tmp_path, macs(10) * slow, order + 1, **extra)
    said: list[str] = []
    listener = Listener(say=said.append)
    import_table([path], "phone", folder=tmp_path / "devices", listener=listener)
    (warning,) = said
    assert "slowed down" in warning
    assert "from network 6 of 10 on" in warning
    assert "1.4" in warning
    steady = table(tmp_path, macs(10), order + 1, **({"reference_ms": np.full(10, 2.0)} if reference else {}))
    import_table([steady], "other", folder=tmp_path / "devices", listener=listener)
    assert said == [warning]


def test_rows_without_a_reference_are_passed_over(tmp_path: Path) -> None:
    order, said = np.arange(12), list[str]()
    listener = Listener(say=said.append)
    slow = np.where(order < 6, 1.0, 1.4)
    blank = np.where(order % 5 == 0, "", 2.0 * slow)
    import_table([table(tmp_path, macs(12) * slow, order, reference_ms=blank)], "a", folder=tmp_path, listener=listener)
    assert ["from network 7 of 12 on, the reference network took 1.40 times" in sentence for sentence in said] == [True]
    nothing = table(tmp_path, macs(12) * slow, order, reference_ms=np.full(12, ""))
    import_table([nothing], "b", folder=tmp_path, listener=listener)
    assert "about 1.4 times as long as expected" in said[1]


@pytest.mark.parametrize("reference", [True, False])
def test_a_file_of_two_batches_is_no_slowdown(tmp_path: Path, reference: bool) -> None:
    order, said = np.arange(20), list[str]()
    batch = np.where(order < 10, 1, 8)
    extra = {"reference_ms": 2.0 * batch} if reference else {}
    path = table(tmp_path, macs(20) * batch, order, batch=batch, **extra)
    import_table([path], "phone", folder=tmp_path, listener=Listener(say=said.append))
    assert said == []


def test_an_order_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    path = table(tmp_path, macs(4), np.array(["first", "2", "3", "4"]))
    with pytest.raises(ValueError, match="'first' in column order is no number"):
        import_table([path], "phone", folder=tmp_path / "devices")


class Board(Transport):
    """Takes a millisecond for a megabyte; the sixth network is interrupted as often as `interrupted` says."""

    def __init__(self, interrupted: int) -> None:
        self.interrupted = interrupted
        self.asked: list[int] = []

    def run(self, job, models, *, silence_s, limit_s):
        self.asked.append(len(models) - 1)
        bad = self.asked[-1] == 1 or len(self.asked) == 1
        slow = f"net{0 if len(self.asked) > 1 else 5}" if bad and len(self.asked) <= self.interrupted else ""
        yield {"event": "start", "machine": {"cpu": "Fake", "cores": 4}, "runtime_version": "1.0", "cores": [0]} | {
            "machine": {"cpu": "Fake", "cores": 4, "load_average": 0.0}
        }
        for _ in range(job["rounds"]):
            ms = {key: (3 if key == slow else 1) * path.stat().st_size / 1e6 for key, path in models.items()}
            yield {"event": "round", "ms": ms, "runs": dict.fromkeys(models, job["runs"]), "waited": 0.0}
        yield {"event": "end", "load_average": 0.1}


@pytest.mark.parametrize("interrupted", [1, 2])
def test_a_suspicious_network_is_measured_again_before_it_is_doubted(tmp_path: Path, interrupted: int) -> None:
    board = Board(interrupted)
    device = Device(
        DeviceSpec("cpu"), folder=tmp_path, protocol=Protocol(rounds=5, runs=2, batch_of_nets=12), transport=board
    )
    population = SPACE.sample(12, np.random.default_rng(1), tilt=1.5)
    device.measure(SPACE, population)
    assert device_predictor(device, SPACE).suspicious_.tolist() == [5]
    predictor, (sentence,) = check_again(device, SPACE)
    assert board.asked == [12, 1]
    assert SPACE.format(population[5]) in sentence
    assert len(predictor.suspicious_) == 0
    rows = read_rows(device.table.path)
    if interrupted == 1:
        assert "which counts from now on" in sentence
        assert (rows["source"] == "measured").all()
    else:
        assert "as before, so it counts" in sentence
        assert (rows["source"] == "measured twice").sum() == 1
        assert check_again(device, SPACE)[1] == []


QUICK = Protocol(rounds=5, runs=2)
CPU = DeviceSpec("cpu")


class Slower(FakeBoard):
    """Every network takes `factor` times as long, and others work on the machine too."""

    def __init__(self, factor: float = 1.0, waited: float = 0.0) -> None:
        super().__init__()
        self.factor, self.waited = factor, waited

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        for event in super().run(job, models, silence_s=silence_s, limit_s=limit_s):
            if "ms" in event:
                event = event | {"ms": {key: self.factor * ms for key, ms in event["ms"].items()}}
                event["waited"] = self.waited
            yield event


def population(n: int) -> np.ndarray:
    return SPACE.sample(n, np.random.default_rng(0))


def test_what_is_wrong_with_a_measurement_is_said_once(tmp_path: Path) -> None:
    said: list[str] = []
    listener = Listener(say=said.append)
    device = Device(CPU, folder=tmp_path, protocol=QUICK, transport=Slower(waited=0.3), listener=listener)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"x" * 1000)
    device.measure_models([path])
    assert len(said) == 1
    assert said[0].startswith("warning: measuring on cpu: the core was shared: 30% of the time")
    device.transport = Slower(waited=0.4)
    device.measure_models([path])
    device.measure(SPACE, population(1))
    device.under(replace(CPU, precision="int8"), tmp_path).measure_models([path])
    assert len(said) == 1


@pytest.mark.parametrize(("factor", "clear"), [(1.0, False), (1.1, False), (1.3, True), (0.7, True)])
def test_a_device_that_is_not_as_it_was_is_said(factor: float, clear: bool, tmp_path: Path) -> None:
    said: list[str] = []

    def device(factor: float) -> Device:
        listener = Listener(say=said.append)
        return Device(CPU, folder=tmp_path, protocol=QUICK, transport=Slower(factor), listener=listener)

    device(1.0).measure(SPACE, population(2))
    device(1.0).measure(get_space(SPACE.name, expansions=[2]), SPACE.min[None])  # another reference network
    assert said == []
    device(factor).measure(SPACE, population(4))
    assert [("not as it was" in sentence, "in earlier sessions" in sentence) for sentence in said] == [
        (True, True)
    ] * clear
