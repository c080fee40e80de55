"""Throughput as a budget: images a second at a batch are a latency."""

import pytest

from nas.pipeline.request import Limits, SearchRequest
from nas.search.throughput import as_latency


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
    with pytest.raises(ValueError, match="which cannot be"):
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
