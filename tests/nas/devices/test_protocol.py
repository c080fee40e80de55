"""What rounds say: the latency, and when not to trust it."""

from typing import Any

import numpy as np
import pytest

from nas.devices import agent
from nas.devices.events import Machine, Start
from nas.devices.protocol import Protocol, Rounds, conditions


def rounds(ms: np.ndarray, waited: float = 0.0) -> Rounds:
    start = Start(Machine(load_average=0.2))
    return Rounds(start, ms, (8,) * ms.shape[1], (waited,) * len(ms), 0.3)


def steady(n_rounds: int = 25, nets: int = 3) -> np.ndarray:
    return np.full((n_rounds, nets), 2.0) * np.random.default_rng(0).normal(1, 0.01, (n_rounds, nets))


def test_latency_is_the_lower_quartile_of_rounds_without_the_reference() -> None:
    ms = np.column_stack([np.arange(1.0, 26.0), np.full(25, 7.0)])
    (measurement,) = rounds(ms).measurements()
    assert measurement.latency_ms == 7.0
    assert (measurement.p10_ms, measurement.p90_ms) == pytest.approx((3.4, 22.6))
    assert measurement.runs == 25 * 8
    assert rounds(ms).reference_ms == 7.0


def test_a_few_disturbed_rounds_do_not_move_it() -> None:
    calm = rounds(steady()).measurements()[0].latency_ms
    disturbed = steady()
    disturbed[5:13] *= 3
    assert rounds(disturbed).measurements()[0].latency_ms == pytest.approx(calm, rel=0.02)


def test_a_quiet_machine_gives_no_warning() -> None:
    found, warnings = conditions([rounds(steady()), rounds(steady())], threads=1)
    assert warnings == []
    assert found["repeatability"] == 0
    assert found["load_average"] == [0.2, 0.3]


def test_noise_throttling_and_a_shared_core_are_told_apart() -> None:
    noisy, throttled = steady(), steady()
    noisy[::2] *= 1.4
    throttled *= np.linspace(1, 1.12, len(throttled))[:, None]
    assert [w.split(":")[0] for w in conditions([rounds(noisy)], 1)[1]] == ["noisy"]
    assert [w.split()[0] for w in conditions([rounds(throttled)], 1)[1]] == ["throttling"]
    assert [w.split(":")[0] for w in conditions([rounds(steady(), waited=0.4)], 1)[1]] == ["the core was shared"]
    # With several threads, waiting for each other is no sign of load.
    assert conditions([rounds(steady(), waited=0.4)], 2)[1] == []


def test_repeatability_is_over_processes() -> None:
    found, _ = conditions([rounds(steady()), rounds(1.1 * steady())], 1)
    assert found["repeatability"] == pytest.approx(np.std([1, 1.1], ddof=1) / 1.05, rel=0.01)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="rounds must be positive, got 0"):
        Protocol(rounds=0)


def test_networks_that_take_long_are_reported_within_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "SLOW_S", 0.0)
    monkeypatch.setattr(agent, "WARM_UP_SECONDS", 0.0)
    monkeypatch.setitem(agent.RUNTIMES, "fake", ("json", lambda *_: lambda: None))
    said: list[str] = []
    job: dict[str, Any] = {"models": {"net0": "", "reference": ""}, "runtime": "fake", "threads": 1, "core": -1}
    agent.measure(job | {"rounds": 5, "runs": 1, "seconds": 1, "limit_s": 9}, lambda event, **_: said.append(event))
    assert said[3:6] == ["timed", "timed", "round"]


@pytest.mark.parametrize(
    ("threads", "chosen"), [(1, [3]), (2, [2, 3]), (4, [0, 1, 2, 3]), (6, [0, 1, 2, 3, 6, 7])], ids=str
)
def test_the_idlest_of_the_fastest_cores_are_taken(
    threads: int, chosen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four fast cores, one of which reaches a little more, and four slow ones."""
    khz = [5_000_000] * 3 + [5_200_000] + [3_800_000] * 4
    folder = "/sys/devices/system/cpu"
    said = {f"{folder}/cpu{core}/cpufreq/cpuinfo_max_freq": str(each) for core, each in enumerate(khz)}
    monkeypatch.setattr(agent, "read_text", lambda path: said.get(path, ""))
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr("os.sched_setaffinity", lambda process, cores: None)
    assert agent.pin(None, threads) == chosen
    said |= {f"{folder}/cpu{core}/cpu_capacity": "1024" if core in (4, 5) else "400" for core in range(8)}
    assert agent.pin(None, 1) == [5]
    said.clear()
    assert agent.pin(None, 1) == [7]
    with pytest.raises(agent.Failure, match="9 threads need 9 cores"):
        agent.pin(None, 9)
