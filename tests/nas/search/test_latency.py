from hypothesis import given
from hypothesis import strategies as st

from nas.search.latency import ONLY_DEVICE, Latency, by_latency, latencies_of, own_columns

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=12)


@given(st.lists(NAMES, unique=True, max_size=4), st.sampled_from(["latency_ms", "bound_ms", "chance"]))
def test_columns_read_back_as_the_latencies_that_they_belong_to(devices: list[str], name: str) -> None:
    latencies = [Latency(device) for device in devices]
    columns = [latency.column(name) for latency in latencies]
    assert latencies_of([*columns, "accuracy", f"predicted_{name}"], name) == latencies


def test_the_only_device_has_no_name_in_columns() -> None:
    assert ONLY_DEVICE.column() == "latency_ms"
    assert ONLY_DEVICE.column("p10_ms") == "p10_ms"
    assert latencies_of(["accuracy", "latency_ms", "latency_std_ms"]) == [ONLY_DEVICE]
    assert (ONLY_DEVICE.on_device, Latency("pixel").on_device) == ("", " on pixel")


def test_what_belongs_to_one_device_reads_as_if_it_were_the_only_one() -> None:
    columns = ["accuracy", "latency_ms@pixel", "latency_ms@pixel2", "chance@pixel"]
    assert own_columns(columns, Latency("pixel")) == {
        "accuracy": "accuracy",
        "latency_ms@pixel": "latency_ms",
        "chance@pixel": "chance",
    }


def test_what_is_given_for_one_or_for_several_devices() -> None:
    assert by_latency(None) == {}
    assert by_latency(5) == {ONLY_DEVICE: 5}
    assert by_latency({"pixel": 5, "cpu": 6}) == {Latency("pixel"): 5, Latency("cpu"): 6}
