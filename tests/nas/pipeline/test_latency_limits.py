"""``--latency`` for several devices: one limit for all, or exactly one for each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pipeline.request import latency_limits

DEVICES = {"pixel1": ("pixel",), "cpu": ()}


@given(st.permutations(["pixel=2ms", "cpu=4ms"]), st.sampled_from(["", " "]))
def test_one_for_each_in_any_order(parts: list[str], space: str) -> None:
    assert latency_limits(f"{space},".join(parts), DEVICES) == {"pixel1": "2ms", "cpu": "4ms"}


@pytest.mark.parametrize("typed", [None, "20ms", "60%"])
def test_one_for_all(typed: str | None) -> None:
    assert latency_limits(typed, DEVICES) == {"pixel1": typed, "cpu": typed}


@given(
    st.lists(st.sampled_from(["pixel=2ms", "pixel1=2ms", "cpu=4ms", "gpu=1ms", "5ms", "=3ms", "cpu", ""]), max_size=4)
)
def test_anything_else_is_refused(parts: list[str]) -> None:
    words = sorted({"pixel": "pixel1"}.get(part.partition("=")[0], part.partition("=")[0]) for part in parts)
    typed = ",".join(parts)
    if ("=" not in typed and "," not in typed) or (words == ["cpu", "pixel1"] and all("=" in part for part in parts)):
        return
    with pytest.raises(ValueError, match="must be one limit for all devices, or one for each of them"):
        latency_limits(typed, DEVICES)


@pytest.mark.parametrize("typed", ["pixel=2ms,pixel=4ms", "pixel=2ms,pixel1=4ms", "pixel=2ms,cpu=1ms"])
def test_two_limits_for_one_device_are_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="--latency pixel1=20ms"):
        latency_limits(typed, {"pixel1": ("pixel",)})
