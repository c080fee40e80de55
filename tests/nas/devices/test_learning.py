from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fake_board import FakeBoard

from latency_tables.table import write_table
from nas.cli.verbs.devices import _row
from nas.devices import Device, get_device, list_devices
from nas.devices.learning import (
    OPERATOR_COSTS,
    device_costs,
    device_predictor,
    fleet_predictor,
    learn_device,
    measure_informative,
)
from nas.devices.protocol import Protocol
from nas.devices.registry import KnownDevice
from nas.devices.spec import DeviceSpec
from nas.progress import Listener
from predictors.latency import LatencyPredictor
from predictors.latency.transfer import OperatorCosts
from search_spaces import get_space

SMALL = get_space("mobilenet_v3_small_images")
IMAGENET = get_space("mobilenet_v3")


@pytest.mark.parametrize("name", ["pixel", "note10", "raspi4", "pixel3", "jetson-tx2"])
def test_a_device_that_is_not_attached_is_known_by_its_operator_costs(name, tmp_path):
    known = learn_device(get_device(name, folder=tmp_path), SMALL)
    population = SMALL.sample(50, np.random.default_rng(0), tilt=1.5)
    latency_ms, std = known.predictor.predict(population, return_std=True)
    assert (latency_ms > 0).all()
    assert (std > 0.1 * latency_ms).all(), "a space it was never measured in is not known to a tenth"
    assert np.corrcoef(latency_ms, SMALL.costs(population).macs)[0, 1] > 0.8
    assert "operator" in known.evidence
    assert known.refit is None


def test_a_device_of_the_fleet_is_known_at_the_batch_of_its_card(tmp_path):
    batches = {name: costs.batch for name, costs in OperatorCosts.load(OPERATOR_COSTS).devices_.items()}
    cards = {known.spec.name: known.card for known in list_devices(folder=tmp_path)}
    assert batches == {name: cards[name].conditions.get("batch", 1) for name in batches}
    assert batches["1080ti_32"] == 32
    for batch in (1, 32):
        device = get_device("1080ti_32", folder=tmp_path, batch=batch)
        assert "in batches of 32 images" in learn_device(device, SMALL).evidence


def test_published_networks_are_predicted_about_right(tmp_path):
    device = get_device("pixel1", folder=tmp_path)
    costs = device_costs(device)
    rows = device.table.read().rows
    for row in rows[rows["space"] == "mobilenet_v3"].to_dict("records"):
        space = get_space("mobilenet_v3", resolutions=(row["resolution"],))
        predicted = costs.for_space(space).predict(space.parse(row["architecture"])[None])[0]
        assert predicted == pytest.approx(row["latency_ms"], rel=0.15)


def test_the_shipped_fleet_serves_its_space_alone():
    assert len(fleet_predictor(SMALL).devices_) >= 6
    assert fleet_predictor(IMAGENET).devices_ == ()
    assert fleet_predictor(get_space("mobilenet_v3_small_images", resolutions=(16,))).devices_ == ()


@pytest.mark.parametrize("name", ["fbnet", "nasbench201"])
def test_the_public_fleets_are_shipped_as_what_was_computed(name):
    predictor = fleet_predictor(get_space(name, num_classes=10))
    assert len(predictor.devices_) >= 20
    assert not {"eyeriss", "fpga"} & set(predictor.devices_)
    assert not hasattr(predictor, "errors_")
    pool = predictor.space.sample(50, np.random.default_rng(0))
    assert len(set(predictor.suggest(pool, 10).tolist())) == 10


@pytest.fixture
def board(tmp_path):
    return Device(
        DeviceSpec("board", transport="local"),
        folder=tmp_path,
        protocol=Protocol(rounds=5, runs=2),
        transport=FakeBoard(),
    )


def test_a_confirmed_latency_is_not_doubted_in_a_search(board):
    population = SMALL.sample(13, np.random.default_rng(1), tilt=1.5)
    table = board.measure(SMALL, population[:12])
    rows = table.rows.copy()
    rows.loc[5, ["latency_ms", "p10_ms", "p90_ms"]] *= 3
    write_table(board.table.path, replace(table, rows=rows))
    board.table.confirm(SMALL, [rows["architecture"][5]])
    known = learn_device(board, SMALL, samples=12)
    known.refit(population[12:], np.array([rows["latency_ms"][0]]))
    assert 5 not in known.predictor.suspicious_


def test_a_measurement_that_was_left_out_stays_out_when_finalists_are_measured(board, tmp_path):
    population = np.unique(SMALL.sample(52, np.random.default_rng(1), tilt=1.5), axis=0)[:48]
    table = board.measure(SMALL, population)
    rows = table.rows.iloc[:40].copy()
    rows.loc[5, ["latency_ms", "p10_ms", "p90_ms"]] *= 3
    write_table(board.table.path, replace(table, rows=rows))
    foreign = Device(replace(board.spec, transport="none"), folder=tmp_path)
    known = learn_device(foreign, SMALL)
    assert "1 left out" in known.evidence
    known.refit(population[40:], table.rows["latency_ms"].to_numpy()[40:])  # too many for one to be looked for
    assert len(known.predictor.measured_) == 47
    assert rows["latency_ms"][5] not in known.predictor.latency_ms_


def architectures(table):
    return table.rows["architecture"].tolist()


def test_what_is_measured_has_the_extremes_and_nothing_twice(board):
    seen = []
    table = measure_informative(board, SMALL, 9, extremes=True, progress=lambda done, total: seen.append((done, total)))
    names = architectures(table)
    assert len(set(names)) == 9
    assert names[:2] == SMALL.format(np.stack([SMALL.min, SMALL.max]))
    assert board.transport.asked == [5, 1, 1, 1, 1]
    assert seen == [(done, 9) for done in (0, 5, 6, 7, 8, 9)]
    assert len(board.table.card().conditions["sessions"]) == 1


def test_a_measurement_that_was_cut_short_goes_on_as_it_would_have(board, tmp_path):
    whole = architectures(measure_informative(board, SMALL, 8))
    again = Device(board.spec, folder=tmp_path / "again", protocol=board.protocol, transport=FakeBoard())
    begun = architectures(measure_informative(again, SMALL, 6))
    assert begun + architectures(measure_informative(again, SMALL, 8)) == whole


def test_a_choice_knows_what_was_measured_before(board, tmp_path):
    begun = architectures(measure_informative(board, SMALL, 12))
    other = Device(board.spec, folder=tmp_path / "other", protocol=board.protocol, transport=Reverse())
    found = architectures(measure_informative(other, SMALL, 12))
    assert found[:5] == begun[:5]
    assert found[5:] != begun[5:]


class Reverse(FakeBoard):
    """A board that takes longer for small networks."""

    def run(self, job, models, *, silence_s, limit_s):
        for event in super().run(job, models, silence_s=silence_s, limit_s=limit_s):
            yield {**event, "ms": {key: 1 / ms for key, ms in event["ms"].items()}} if "ms" in event else event


def test_more_networks_than_can_be_chosen_are_refused_before_any_is_measured(board):
    with pytest.raises(
        ValueError,
        match="2,000 more networks of mobilenet_v3_small_images cannot be chosen at once, .*; type samples=",
    ):
        measure_informative(board, SMALL, 2000)
    assert board.transport.asked == []


def test_a_search_is_told_to_measure_more_in_its_own_space(board, tmp_path, monkeypatch):
    monkeypatch.setattr(LatencyPredictor, "further_measurements_", 7)
    said = []
    learn_device(board, SMALL, samples=5, listener=Listener(say=said.append))
    assert said[-1].endswith("measure 7 more: type samples=12")
    # A device that cannot be measured can only be told what was measured elsewhere.
    foreign = Device(DeviceSpec("board", transport="none"), folder=tmp_path)
    learn_device(foreign, SMALL, listener=Listener(say=said.append))
    assert said[-1].endswith("measure 7 more: nas measure --device board --import FILE")
    unknown = Device(DeviceSpec("other", transport="none"), folder=tmp_path / "other")
    with pytest.raises(ValueError, match="nothing is known .*: nas measure --device other --import FILE"):
        learn_device(unknown, SMALL)


def test_what_can_be_chosen_is_said_in_the_number_that_was_typed(board):
    board.measure(SMALL, SMALL.sample(3, np.random.default_rng(0)))
    numbers = []
    for besides in (0, 3):
        with pytest.raises(ValueError, match="type samples=") as refused:
            measure_informative(board, SMALL, 2003, besides=besides)
        numbers.append(int(str(refused.value).rpartition("=")[2]))
    assert numbers[0] - numbers[1] == 3


def test_nothing_is_known_of_a_phone_that_was_never_measured(tmp_path):
    device = get_device("phone", folder=tmp_path)
    assert not hasattr(device_predictor(device, SMALL), "errors_")
    assert device_costs(device) is None


def test_networks_of_other_options_do_not_stand_in_the_way(board):
    other = get_space(SMALL.name, kernels=[3, 5, 7])
    board.measure(other, other.max[None])
    assert device_costs(board) is None
    board.measure(SMALL, SMALL.max[None])
    assert device_costs(board).n == 1
    assert device_predictor(board, IMAGENET).devices_ == ()


def test_a_row_whose_resolution_contradicts_it_is_passed_over(board):
    table = board.measure(SMALL, np.stack([SMALL.min, SMALL.max]))
    write_table(board.table.path, replace(table, rows=table.rows.assign(resolution=[32, 224])))
    assert device_costs(board).n == 1


def test_of_very_many_networks_some_hundred_are_learnt_from(board, monkeypatch):
    monkeypatch.setattr("nas.devices.learning.MOST_LEARNT_FROM", 15)
    population = np.unique(SMALL.sample(40, np.random.default_rng(0), tilt=1.5), axis=0)
    latency_ms = board.measure(SMALL, population).rows["latency_ms"].to_numpy()
    predictor = device_predictor(board, SMALL)
    np.testing.assert_array_equal(predictor.measured_, device_predictor(board, SMALL).measured_)
    assert len(predictor.measured_) == 15
    assert predictor.latency_ms_.min() == latency_ms.min()
    assert predictor.latency_ms_.max() == latency_ms.max()
    assert np.ptp(np.searchsorted(np.sort(latency_ms), np.sort(predictor.latency_ms_))[:8]) < len(population) * 0.6
    assert device_costs(board).n == 15
    said = []
    asked = len(board.transport.asked)
    learn_device(board, SMALL, samples=30, listener=Listener(say=said.append))
    assert len(board.transport.asked) == asked
    assert f"{len(population)} networks of {SMALL.name} are known on board; 15 of them" in said[0]


def test_the_many_networks_of_one_space_do_not_displace_those_of_another(board, monkeypatch):
    monkeypatch.setattr("nas.devices.learning.MOST_LEARNT_FROM", 16)
    many = np.unique(SMALL.sample(60, np.random.default_rng(0), tilt=1.5), axis=0)
    board.measure(SMALL, many)
    cells = get_space("nasbench201")
    board.measure(cells, np.unique(cells.sample(8, np.random.default_rng(0)), axis=0)[:5])
    costs = device_costs(board)
    assert (costs.n, costs.few) == (8 + 5, ())


def test_it_is_said_that_too_few_networks_are_of_the_space(board):
    board.measure(SMALL, np.unique(SMALL.sample(20, np.random.default_rng(0), tilt=1.5), axis=0))
    cells = get_space("nasbench201")
    board.measure(cells, np.stack([cells.min, cells.max]))
    foreign = Device(replace(board.spec, transport="none"), folder=board.table.folder)
    known = learn_device(foreign, cells)
    assert "too few of them of nasbench201;" in known.evidence
    assert known.predictor.relative_std == device_costs(foreign).error_elsewhere


def test_another_size_of_nasbench201_is_another_space(board):
    usual, small = get_space("nasbench201"), get_space("nasbench201", channels=8, cells=1)
    board.measure(small, np.stack([small.min, small.max]))
    assert len(board.table.known(usual)[0]) == 0
    assert len(board.table.known(small)[0]) == 2
    assert fleet_predictor(small).devices_ == ()
    assert device_costs(board).spaces == ("nasbench201_c8_n1",)


def test_a_device_with_networks_of_a_given_network_is_listed(board):
    table = board.measure(SMALL, SMALL.sample(4, np.random.default_rng(0)))
    traced = table.rows.tail(1).assign(space="traced_mynet_0123", architecture="r32-w4")
    write_table(board.table.path, replace(table, rows=pd.concat([table.rows, traced], ignore_index=True)))
    row = _row(KnownDevice(board.spec, table.card, ((SMALL.name, 4), ("traced_mynet_0123", 1))), board)
    assert row["figures"] == "measured, local"
    assert row["networks"] == {SMALL.name: 4, "traced_mynet_0123": 1}
    assert set(row["errors"]) == {SMALL.name}
