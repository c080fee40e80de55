from pathlib import Path

import numpy as np
import pytest

from nas.search.finalists.measurements import EVALUATED, LOSS, USUAL_SPREAD, Ledger, Sessions, measured_columns

MEASURED = measured_columns()


def test_ledger_gives_back_exactly_what_was_recorded(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "measurements.csv")
    first = np.array([[0.1 + 0.2, 1 / 3, 2.5], [1e-3 / 7, 4.0, 5.0]])
    ledger.record(1, ["a", "b"], MEASURED, first)
    ledger.record(0, ["b"], [EVALUATED], np.array([[2 / 3]]))
    ledger.record(2, ["b", "c"], MEASURED, first + 1)
    for read in (ledger, Ledger(tmp_path / "measurements.csv")):
        np.testing.assert_array_equal(read.lookup(1, ["b", "a"], MEASURED), first[::-1])
        np.testing.assert_array_equal(read.lookup(2, ["a", "b"], MEASURED), [[np.nan] * 3, first[0] + 1])
        assert read.lookup(0, ["b"], [EVALUATED]).tolist() == [[2 / 3]]
        assert np.isnan(read.lookup(3, ["a"], MEASURED)).all()
        assert np.isnan(read.lookup(0, ["a"], [EVALUATED])).all()


def filled(ms: np.ndarray) -> Sessions:
    """Sessions of (n, s) latencies; not-a-number where a network was left out."""
    sessions = Sessions()
    for column in ms.T:
        rows = np.flatnonzero(np.isfinite(column))
        sessions.add(len(ms), rows, np.stack([column, column - 1, column + 1], axis=1)[rows])
    return sessions


def test_sessions_keep_the_slowest_and_its_percentiles() -> None:
    sessions = Sessions()
    sessions.add(2, np.array([0, 1]), np.array([[10.0, 9.0, 12.0], [20.0, 19.0, 22.0]]))
    sessions.add(3, np.array([2, 0]), np.array([[30.0, 29.0, 31.0], [11.0, 9.5, 13.0]]))
    assert sessions.n.tolist() == [2, 1, 1]
    assert sessions.slowest().tolist() == [[11.0, 9.5, 13.0], [20.0, 19.0, 22.0], [30.0, 29.0, 31.0]]
    np.testing.assert_allclose(sessions.mean_ms, [np.sqrt(110), 20, 30])


def test_spread_starts_at_the_usual_and_ends_at_the_device_s_own() -> None:
    assert Sessions().spread == USUAL_SPREAD
    assert filled(np.full((8, 1), 5.0)).spread == USUAL_SPREAD  # one session each says nothing
    rng = np.random.default_rng(0)
    level = rng.uniform(5, 50, (200, 1))
    assert filled(level * np.exp(0.03 * rng.normal(size=(200, 3)))).spread == pytest.approx(0.03, rel=0.1)
    assert filled(level * np.exp(0.001 * rng.normal(size=(200, 3)))).spread == pytest.approx(0.001, rel=0.5)


@pytest.mark.parametrize("spread", [0.003, 0.02])
def test_the_next_session_keeps_the_bound_as_often_as_it_says(spread: float) -> None:
    rng = np.random.default_rng(1)
    level = rng.uniform(5, 50, (20_000, 1))
    drawn = level * np.exp(spread * rng.normal(size=(20_000, 4)))
    bound = filled(drawn[:, :3]).bound_ms(3)
    kept = (drawn[:, 3] <= bound).mean()
    assert 0.99 < kept < 0.9995
    assert np.log(bound / level[:, 0]).mean() < 3.5 * spread  # and is no wider than it need be


def test_a_network_of_one_session_is_judged_as_if_it_had_had_all() -> None:
    once, thrice = filled(np.array([[10.0]])), filled(np.array([[10.0, 10.0, 10.0]]))
    assert once.bound_ms(1)[0] > once.bound_ms(3)[0]
    assert once.margin(3) > thrice.margin(3)  # repetitions that agree narrow it
    slow = filled(np.array([[10.0, 10.0, 13.0], [10.0, 10.0, 10.0]]))
    assert slow.bound_ms(3)[0] >= 13


def test_a_loss_of_nothing_is_read_back_and_a_negative_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    Ledger(path).record(0, ["a"], [EVALUATED, LOSS], np.array([[1.0, 0.0]]))
    assert Ledger(path).lookup(0, ["a"], [EVALUATED, LOSS]).tolist() == [[1.0, 0.0]]
    path.write_text(path.read_text().replace("1.0,0.0", "1.0,-0.1"))
    with pytest.raises(ValueError, match="in measured_loss is no loss"):
        Ledger(path)
