"""The table of baselines: the chosen network first, each as measured."""

from nas.report.baselines import baseline_rows

TIMED = {"latency_ms": 2.0, "p10_ms": 1.9, "p90_ms": 2.2}
BASELINE = {
    "name": "mobilenet_v2",
    "resolution": 96,
    "macs": 60_000_000,
    "accuracy": 0.8,
    "test_accuracy": 0.79,
    "test_error": 0.02,
    "keeps_budget": False,
    "latency_ms": None,
    "p10_ms": None,
    "p90_ms": None,
}
RECORD = {
    "resolution": 128,
    "measured": {"accuracy": 0.85},
    "test_accuracy": 0.84,
    "test_accuracy_error": 0.01,
    "costs": {"macs": 100_000_000},
    "budgets": [{"key": "latency_ms", "limit": 2.1, "met": True}, {"key": "macs", "limit": 1.0, "met": True}],
    "baselines": {"chosen": TIMED, "networks": [BASELINE]},
}


def test_rows_say_what_was_measured_and_what_was_not() -> None:
    chosen, baseline = baseline_rows(RECORD)
    assert chosen[0] == "chosen network, 128 px"
    assert chosen[3] == "2 ms (1.9 to 2.2)"
    assert chosen[4:] == ["100", "yes"]
    assert baseline[0] == "mobilenet_v2, 96 px"
    assert baseline[3] == "not measured"
    assert baseline[4:] == ["60", "no"]


def test_all_networks_are_shown_by_what_the_search_was_asked_for() -> None:
    balanced = RECORD | {"test_balanced_accuracy": 0.7, "test_balanced_accuracy_error": 0.03}
    assert baseline_rows(balanced | {"objective": "balanced_accuracy"})[0][2] == "70.00 ± 3.00 %"
    assert baseline_rows(balanced)[0][2] == "84.00 ± 1.00 %"


def test_a_baseline_that_is_over_the_limit_in_the_last_session_is_not_said_to_keep_it() -> None:
    over = BASELINE | TIMED | {"latency_ms": 2.15, "keeps_budget": True}
    within = over | {"latency_ms": 2.1}
    rows = baseline_rows(RECORD | {"baselines": {"chosen": TIMED, "networks": [over, within]}})
    assert [row[-1] for row in rows] == ["yes", "2.4 % over", "yes"]
    free = RECORD | {"budgets": [{"key": "macs", "limit": 1.0, "met": True}]}
    assert baseline_rows(free | {"baselines": {"chosen": TIMED, "networks": [over]}})[1][-1] == "yes"
