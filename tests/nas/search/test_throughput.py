"""Throughput as a budget: images a second at a batch are a latency."""

from types import SimpleNamespace

import numpy as np
import pytest

from nas.errors import BudgetMissed, InfeasibleBudget
from nas.pipeline.request import Limits, SearchRequest
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives
from nas.search.run import SearchSettings, identity_of, run_search
from nas.search.throughput import as_latency, check_batch
from search_spaces import Population


@pytest.mark.parametrize(
    ("typed", "batch", "latency"),
    [
        ("500img/s", 32, "64ms"),
        ("500 images/s", 1, "2ms"),
        ("1e3fps", 8, "8ms"),
        ("200%", 32, "50%"),
        ("160%", 1, "62.5%"),
    ],
)
def test_a_throughput_is_a_latency_of_the_batch(typed: str, batch: int, latency: str) -> None:
    assert as_latency(typed, batch) == latency


@pytest.mark.parametrize("typed", ["500", "fast", "0img/s", "-5img/s", "nanimg/s", "500ms", "", "1e400img/s", "0%"])
def test_what_is_no_throughput_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="type images a second, like 500img/s"):
        as_latency(typed, 1)


def test_less_than_the_max_net_has_limits_nothing_and_is_refused() -> None:
    with pytest.raises(ValueError, match="which every network keeps; type 100% or more"):
        as_latency("80%", 1)


@pytest.mark.parametrize("typed", ["1e-300img/s", "1e300img/s"])
def test_a_throughput_that_cannot_be_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="which is impossible"):
        as_latency(typed, 1)


def test_the_stricter_of_two_limits_counts() -> None:
    assert as_latency("500img/s", 32, "20ms") == "20ms"
    assert as_latency("500img/s", 32, "0.1s") == "64ms"
    assert as_latency("200%", 32, "60%") == "50%"
    for latency in ("60%", "pixel=20ms,cpu=3ms"):
        with pytest.raises(ValueError, match="give one of them"):
            as_latency("500img/s", 32, latency)


def test_a_request_limits_the_latency_of_its_batch() -> None:
    request = SearchRequest(budget=Limits(throughput="500img/s", memory="1MB"), batch=32)
    assert request.limits == {"latency": "64ms", "memory": "1MB", "size": None, "macs": None, "params": None}


def asked(throughput: str, batch: int = 32, latency: str | None = None) -> Budget:
    request = SearchRequest(budget=Limits(throughput=throughput, latency=latency), batch=batch)
    return request.budget_of(request.limits["latency"])


def test_a_search_by_throughput_is_told_by_throughput_and_known_by_latency() -> None:
    budget = asked("500img/s")
    assert str(budget) == "throughput at least 500 img/s"
    assert str(asked("150%")) == "throughput at least 150% of the max net's"
    assert str(asked("500img/s", latency="20ms")) == "latency at most 20 ms"  # the stricter one
    identities = [identity_of(each, 0, SearchSettings(), "cpu") for each in (budget, Budget.parse(latency="64ms"))]
    assert identities[0] == identities[1]
    (record,) = budget.judged({"latency_ms": 60.0}, {"latency_ms": None}, {})
    assert (record["typed"], record["throughput"]) == ("64ms", "500img/s")


def test_a_throughput_that_no_network_has_says_what_can_be_had(objectives: Objectives) -> None:
    with pytest.raises(InfeasibleBudget) as error:
        check_feasibility(objectives, asked("1e6img/s"))
    message = str(error.value)
    assert "keeps --throughput 1e6img/s at batch 32 (at 95% confidence)" in message
    assert "--latency" not in message
    suggested = message.split("ask for ")[1].removesuffix(" or less")
    assert suggested.endswith(" img/s")
    table = str(check_feasibility(objectives, asked(suggested)))
    assert f"({suggested})" in table


def test_a_throughput_missed_when_measured_says_what_can_be_had(objectives: Objectives) -> None:
    def measure(population: Population) -> tuple[np.ndarray, ...]:
        return (np.full(len(population), 6.4),) * 3

    settings = SearchSettings(EvolutionSettings(300), EvolutionSettings(300), finalists=2, rounds=1)
    feasibility = check_feasibility(objectives, asked("10000img/s"))
    with pytest.raises(BudgetMissed, match=r"kept 3.2 ms \(10000 img/s\) when .*; ask for at most 4\d+0 img/s, or"):
        run_search(objectives, feasibility, settings=settings, device="bench", measure=measure)


KNOWN_AT_16 = SimpleNamespace(batch=16)


def test_a_throughput_is_not_held_against_the_latency_of_another_batch() -> None:
    with pytest.raises(ValueError, match=r"of 1 image an inference, and jetson-tx2 is known at 16; type --batch 16"):
        check_batch("100img/s", 1, "jetson-tx2", KNOWN_AT_16)
    with pytest.raises(ValueError, match=r"of 8 images an inference, .* type --latency 160ms in its place"):
        check_batch("100img/s", 8, "jetson-tx2", KNOWN_AT_16, answered=True)
    check_batch("100img/s", 16, "jetson-tx2", KNOWN_AT_16)
    check_batch("150%", 1, "jetson-tx2", KNOWN_AT_16)
    check_batch("100img/s", 1, "cpu", object())
    check_batch(None, 1, "jetson-tx2", KNOWN_AT_16)
