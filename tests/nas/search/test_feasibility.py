import re
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nas.errors import InfeasibleBudget
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.evolution.strategies import run_strategy
from nas.search.feasibility import check_feasibility, too_wide
from nas.search.latency import Latency
from nas.search.objectives import Objectives
from nas.search.run import SearchSettings, run_search
from search_spaces import get_space


def test_table_holds_the_true_minimum_of_every_cost(objectives: Objectives, everything: NDArray[np.int16]) -> None:
    budget = Budget.parse(latency="4ms", memory="200KB", size="1.5MB", macs="9M", params="1M")
    checked = check_feasibility(objectives, budget)
    costs = objectives.costs(everything, budget)
    for row in checked.table.to_dict("records"):
        key = next(limit.key for limit in budget.limits if limit.metric.flag == row["budget"])
        assert row["cheapest"] == pytest.approx(costs[key].min())
        assert row["cheapest"] <= row["min_net"]
        assert row["satisfiable"]
    # The toy latency is not least at the min net: taking that for the cheapest would be wrong.
    latency = checked.table.set_index("budget").loc["latency"]
    assert latency["cheapest"] < latency["min_net"]
    together = budget.violations(objectives.costs(checked.starts[:1], budget))
    assert (together <= 0).all()


def test_infeasible_budget_gives_the_range_at_once(objectives: Objectives, everything: NDArray[np.int16]) -> None:
    budget = Budget.parse(latency="10us", macs="10M")
    started = time.perf_counter()
    with pytest.raises(InfeasibleBudget) as error:
        check_feasibility(objectives, budget)
    assert time.perf_counter() - started < 1
    message = str(error.value)
    assert "--latency 10us" in message
    assert "95%" in message
    assert "macs" not in message
    suggested = message.split("ask for ")[1].removesuffix(" or more")
    check_feasibility(objectives, Budget.parse(latency=suggested))
    least = objectives.costs(everything, budget)[Latency()].min()
    assert Budget.parse(latency=suggested).limits[0].value == pytest.approx(least, rel=0.01)


def test_limits_that_exclude_each_other(objectives: Objectives, everything: NDArray[np.int16]) -> None:
    space = objectives.space
    # Only the min net has so few MACs, and it is not the fastest.
    costs = objectives.costs(everything, Budget.parse(latency="1ms", macs="1M"))
    fastest, slower = costs[Latency()].min(), objectives.costs(space.min[None], Budget.parse(latency="1ms"))
    latency = f"{(fastest + slower[Latency()][0]) / 2}ms"
    macs = f"{costs['macs'].min() / 1e6}M"
    check_feasibility(objectives, Budget.parse(latency=latency))
    check_feasibility(objectives, Budget.parse(macs=macs))
    with pytest.raises(InfeasibleBudget, match="together, though each can be kept alone"):
        check_feasibility(objectives, Budget.parse(latency=latency, macs=macs))


def test_percentages_are_of_the_max_net(objectives: Objectives) -> None:
    checked = check_feasibility(objectives, Budget.parse(latency="90%", macs="75%"))
    space = objectives.space
    mean, _ = objectives.predicted_latency(space.max[None])
    assert checked.budget[Latency()].value == pytest.approx(0.9 * mean[0])
    assert checked.budget["macs"].value == space.costs(space.max[None]).macs[0] * 0.75


def test_the_cheapest_network_keeps_its_own_cost_however_it_was_rounded(objectives: Objectives) -> None:
    costs = check_feasibility(objectives, Budget.parse(latency="4ms")).rows[0]["cheapest"]
    limit = Budget.parse(latency="4ms").moved({Latency(): float(np.nextafter(costs, 0))})
    checked = check_feasibility(objectives, limit)
    assert checked.rows[0]["satisfiable"]
    assert limit.violations(objectives.costs(checked.starts[:1], limit))[0, 0] == 0


def test_no_budget_is_feasible(objectives: Objectives) -> None:
    assert len(check_feasibility(objectives, Budget()).starts) == 1


def test_a_latency_without_a_device_is_refused(objectives: Objectives) -> None:
    without = Objectives(objectives.space, objectives.accuracy, None)
    with pytest.raises(ValueError, match="needs a device"):
        check_feasibility(without, Budget.parse(latency="4ms"))


class LessForEmptyEdges:
    """Milliseconds of a cell: as many as its edges have operators that are not ``none``."""

    def predict(self, population: NDArray[np.int16], return_std: bool = False) -> Any:
        edges = (population[:, 1:] > 0).sum(axis=1).astype(float)
        return (edges, np.zeros(len(edges))) if return_std else edges


def test_a_network_that_is_cut_off_from_the_image_keeps_no_budget() -> None:
    space = get_space("nasbench201")
    objectives = Objectives(space, LessForEmptyEdges(), LessForEmptyEdges())
    empty = space.parse("r32-none-none_none-none_none_none")
    budget = Budget.parse(latency="1ms")
    cut, kept = objectives.scorer(budget).violations(np.stack([empty, space.min])).ravel()
    assert (cut > 1000, kept) == (True, 0)
    checked = check_feasibility(objectives, budget)
    assert checked.rows[0]["cheapest"] == checked.rows[0]["min_net"] == 1
    assert space.connected(checked.starts).all()
    with pytest.raises(InfeasibleBudget, match="the cheapest needs 1 ms"):
        check_feasibility(objectives, Budget.parse(latency="0.9ms"))
    found = run_strategy(
        "evolution", space, objectives.scorer(budget), rng=np.random.default_rng(0), settings=EvolutionSettings(500)
    )
    assert space.connected(found.population[found.feasible]).all()


@pytest.mark.parametrize("budget", [Budget(), Budget.parse(latency="3ms")])
def test_a_network_that_is_cut_off_from_the_image_is_in_no_front(budget: Budget) -> None:
    space = get_space("nasbench201")
    objectives = Objectives(space, LessForEmptyEdges(), LessForEmptyEdges())
    quick = EvolutionSettings(300, parents=20, children=20)
    result = run_search(objectives, check_feasibility(objectives, budget), settings=SearchSettings(quick, quick))
    assert space.connected(result.genotype).all()
    assert space.connected(np.stack([space.parse(name) for name in result.front["architecture"]])).all()
    everything = space.sample(2000, np.random.default_rng(0))
    assert len(result.cloud) == space.connected(everything).sum() < 2000


def test_a_limit_that_decides_nothing_is_said_with_what_to_type(objectives: Objectives) -> None:
    budget = Budget.parse(latency="1s", macs="60%", size="100%")
    found = check_feasibility(objectives, budget)
    (said,) = too_wide(found)
    assert re.match(r"The limit of 1,?000 ms on latency decides nothing: the largest network needs .* ms\. ", said)
    assert "--latency 60%" in said
    assert "--resolution or another --space" in said
    assert too_wide(check_feasibility(objectives, Budget.parse(latency="100%", macs="99%"))) == []
