import time

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.errors import InfeasibleBudget
from nas.search.budget import Budget
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Estimator


def test_table_holds_the_true_minimum_of_every_cost(estimator: Estimator, everything: NDArray[np.int16]) -> None:
    budget = Budget.parse(latency="4ms", memory="200KB", size="1.5MB", macs="9M", params="1M")
    checked = check_feasibility(estimator, budget, np.random.default_rng(0))
    costs = estimator.costs(everything, budget)
    for row in checked.table.to_dict("records"):
        key = next(limit.metric.key for limit in budget.limits if limit.metric.flag == row["budget"])
        assert row["cheapest"] == pytest.approx(costs[key].min())
        assert row["cheapest"] <= row["min_net"]
        assert row["satisfiable"]
    # The toy latency is not least at the min net: taking that for the cheapest would be wrong.
    latency = checked.table.set_index("budget").loc["latency"]
    assert latency["cheapest"] < latency["min_net"]
    together = budget.violations(estimator.costs(checked.starts[:1], budget))
    assert (together <= 0).all()


def test_infeasible_budget_gives_the_range_at_once(estimator: Estimator, everything: NDArray[np.int16]) -> None:
    budget = Budget.parse(latency="10us", macs="10M")
    started = time.perf_counter()
    with pytest.raises(InfeasibleBudget) as error:
        check_feasibility(estimator, budget, np.random.default_rng(0))
    assert time.perf_counter() - started < 1
    message = str(error.value)
    assert "--latency 10us" in message
    assert "95%" in message
    assert "macs" not in message
    suggested = message.split("ask for ")[1].removesuffix(" or more")
    check_feasibility(estimator, Budget.parse(latency=suggested), np.random.default_rng(0))
    least = estimator.costs(everything, budget)["latency_ms"].min()
    assert Budget.parse(latency=suggested).limits[0].value == pytest.approx(least, rel=0.01)


def test_limits_that_exclude_each_other(estimator: Estimator, everything: NDArray[np.int16]) -> None:
    space = estimator.space
    # Only the min net has so few MACs, and it is not the fastest.
    costs = estimator.costs(everything, Budget.parse(latency="1ms", macs="1M"))
    fastest, slower = costs["latency_ms"].min(), estimator.costs(space.min[None], Budget.parse(latency="1ms"))
    latency = f"{(fastest + slower['latency_ms'][0]) / 2}ms"
    macs = f"{costs['macs'].min() / 1e6}M"
    check_feasibility(estimator, Budget.parse(latency=latency), np.random.default_rng(0))
    check_feasibility(estimator, Budget.parse(macs=macs), np.random.default_rng(0))
    with pytest.raises(InfeasibleBudget, match="together, though each can be kept alone"):
        check_feasibility(estimator, Budget.parse(latency=latency, macs=macs), np.random.default_rng(0))


def test_percentages_are_of_the_max_net(estimator: Estimator) -> None:
    checked = check_feasibility(estimator, Budget.parse(latency="90%", macs="75%"), np.random.default_rng(0))
    space = estimator.space
    mean, _ = estimator.predicted_latency(space.max[None])
    assert checked.budget["latency_ms"].value == pytest.approx(0.9 * mean[0])
    assert checked.budget["macs"].value == space.costs(space.max[None]).macs[0] * 0.75


def test_no_budget_is_feasible(estimator: Estimator) -> None:
    assert len(check_feasibility(estimator, Budget(), np.random.default_rng(0)).starts) == 1


def test_a_latency_without_a_device_is_refused(estimator: Estimator) -> None:
    without = Estimator(estimator.space, estimator.accuracy, None)
    with pytest.raises(ValueError, match="needs a device"):
        check_feasibility(without, Budget.parse(latency="4ms"), np.random.default_rng(0))
