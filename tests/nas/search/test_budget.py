import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.search.budget import METRICS, Budget, Limit
from nas.search.latency import Latency

FLAGS = [metric.flag for metric in METRICS]


@pytest.mark.parametrize(
    ("flag", "typed", "value"),
    [
        ("latency", "20ms", 20.0),
        ("latency", "0.02s", 20.0),
        ("latency", "800us", 0.8),
        ("latency", "800µs", 0.8),
        ("latency", "800μs", 0.8),
        ("latency", " 1.5 MS ", 1.5),
        ("memory", "512KB", 512_000.0),
        ("memory", "512KiB", 524_288.0),
        ("memory", "1MB", 1e6),
        ("size", "1MiB", 1_048_576.0),
        ("size", "4096B", 4096.0),
        ("macs", "10M", 10e6),
        ("macs", "1.2G", 1.2e9),
        ("params", "300k", 300e3),
    ],
)
def test_reads_units(flag: str, typed: str, value: float) -> None:
    limit = Limit.parse(flag, typed)
    assert limit.value == pytest.approx(value)
    assert limit.typed == typed.strip()
    assert not limit.relative


@pytest.mark.parametrize("flag", FLAGS)
def test_reads_percentages_of_the_max_net(flag: str) -> None:
    budget = Budget.parse(**{flag: "60%"})
    key = budget.limits[0].key
    assert budget.is_relative
    resolved = budget.resolve({key: 50.0})
    assert not resolved.is_relative
    assert resolved[key].value == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("flag", "typed", "says"),
    [
        ("latency", 20, "type 20ms"),
        ("latency", "20", "type 20ms"),
        ("macs", "10", "type 10M"),
        ("memory", "512", "type 512KB"),
        ("latency", "-20ms", "positive"),
        ("latency", "0ms", "positive"),
        ("latency", "1e999ms", "positive"),
        ("latency", "nanms", "'nanms'"),
        ("latency", "", "''"),
        ("latency", "<20ms", "'<20ms'"),
        ("latency", "20ms30", "'20ms30'"),
        ("latency", "20MB", "unknown unit"),
        ("memory", "20ms", "unknown unit"),
        ("memory", "120%", "up to 100%"),
        ("memory", "-5%", "positive"),
        ("colour", "3", "latency, memory"),
    ],
)
def test_refuses_what_it_cannot_mean(flag: str, typed: str, says: str) -> None:
    with pytest.raises(ValueError, match=".") as error:
        Limit.parse(flag, typed)
    message = str(error.value)
    assert says in message
    assert "\n" not in message
    assert str(typed) in message or flag == "colour"


@given(st.text(max_size=12), st.sampled_from(FLAGS))
def test_garbage_is_a_value_error_and_nothing_else(typed: str, flag: str) -> None:
    try:
        limit = Limit.parse(flag, typed)
    except ValueError as error:
        message = str(error)
    else:
        message = repr(limit.typed)
        assert 0 < limit.value < math.inf
    assert repr(typed.strip()) in message


@given(st.floats(1e-2, 1e12), st.sampled_from(METRICS), st.booleans())
def test_what_is_shown_reads_back(value: float, metric: object, round_up: bool) -> None:
    metric = next(m for m in METRICS if m is metric)
    shown = metric.format(value, round_up=round_up)
    back = Limit.parse(metric.flag, shown).value
    assert back == pytest.approx(value, rel=0.0101 if round_up else 0.0051)
    if round_up:
        assert back >= value * (1 - 1e-9)


def test_violations_are_positive_when_over_and_in_units_of_the_limit() -> None:
    budget = Budget.parse(latency="20ms", macs="10M")
    over = budget.violations({Latency(): np.array([10.0, 20.0, 30.0]), "macs": np.array([10e6, 5e6, 40e6])})
    np.testing.assert_allclose(over, [[-0.5, 0.0], [0.0, -0.5], [0.5, 3.0]])


@given(st.floats(1e-3, 1e9), st.integers(-2, 2))
def test_rounding_is_no_violation(value: float, steps: int) -> None:
    cost = value
    for _ in range(abs(steps)):
        cost = float(np.nextafter(cost, np.inf if steps > 0 else 0))
    budget = Budget((Limit(next(metric for metric in METRICS if metric.flag == "macs"), value, "x"),))
    assert budget.violations({"macs": np.array([cost])})[0, 0] == 0
    assert budget.judged({}, {}, {"macs": cost})[0]["met"]  # type: ignore[dict-item]
    assert not budget.judged({}, {}, {"macs": cost * 1.001})[0]["met"]  # type: ignore[dict-item]


def test_a_percentage_must_be_resolved_first() -> None:
    with pytest.raises(ValueError, match="max net"):
        Budget.parse(latency="60%").violations({Latency(): np.ones(2)})


def test_no_limit_is_an_empty_budget() -> None:
    assert Budget.parse(latency=None) == Budget()
    assert str(Budget()) == "no limit"
