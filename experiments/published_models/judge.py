"""How well the latencies of one device are predicted from few of them: with the device, or also a family, left out.

Latencies are milliseconds, errors relative. A device is left out with all others of its product.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import spearmanr

from experiments.published_models.devices import Condition
from experiments.published_models.networks import TOTALS, read_networks
from nas.devices.learning import OPERATOR_COSTS
from predictors.latency.published import fit_prices, leave_out
from predictors.latency.transfer import DeviceCosts, Networks, OperatorCosts, scaled
from predictors.latency.width import UPPER, relative_errors
from predictors.operators import CLASSES

FEWEST = 10
"""Networks that a device must have to be judged."""
MEASURED = (3, 5, 10)
OUR_FLEET, WITH_PUBLISHED = "operator costs, the product's fleet", "operator costs, published devices too"
OWN, LINE = "own prices", "MACs line"


@dataclass(frozen=True)
class Published:
    """Networks of one device: totals (n, WIDTH), milliseconds (n,), families (n,), names (n,)."""

    condition: Condition
    totals: np.ndarray
    latency_ms: np.ndarray
    families: np.ndarray
    networks: np.ndarray

    @cached_property
    def macs(self) -> np.ndarray:
        return self.totals[:, len(CLASSES) : 2 * len(CLASSES)].sum(axis=1)


def read_published(condition: Condition) -> Published | None:
    """What was published of a device; None if that is too little. Networks of the same structure are one."""
    rows = condition.rows().merge(read_networks(), on=["network", "resolution"])
    rows = rows.groupby(TOTALS, as_index=False, sort=False).agg(
        latency_ms=("latency_ms", "median"), network=("network", "first"), family=("family", "first")
    )
    if len(rows) < FEWEST:
        return None
    numbers = rows[TOTALS].to_numpy(dtype=np.float64), rows["latency_ms"].to_numpy(dtype=np.float64)
    return Published(condition, *numbers, rows["family"].to_numpy(), rows["network"].to_numpy())


def line_in_macs(macs: np.ndarray, latency_ms: np.ndarray) -> np.ndarray:
    """Constant and slope by least squares of relative errors; through the origin where one network is all."""
    design = np.stack([np.ones_like(macs), macs], axis=1) / latency_ms[:, None]
    line: np.ndarray = np.linalg.lstsq(design, np.ones(len(latency_ms)), rcond=None)[0]
    return line


def score(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    return {
        "spearman": float(spearmanr(predicted, measured)[0]),
        "mape": float(np.abs(np.maximum(predicted, 0) / measured - 1).mean()),
    }


class Fleets:
    """The fleets that the device called `name` is told from; networks of a family are withheld from all of them."""

    def __init__(self, name: str, fleet: Mapping[str, Published]) -> None:
        self.shipped = OperatorCosts.load(OPERATOR_COSTS)
        product = fleet[name].condition.product
        self.others = {o: p for o, p in fleet.items() if p.condition.product != product}

    def without(self, family: str | None) -> dict[str, OperatorCosts]:
        """By method, operator costs of the known devices."""
        published = OperatorCosts()
        published.across_ = self.shipped.across_
        published.devices_ = dict(self.shipped.devices_)
        for other, p in self.others.items():
            kept = p.families != family
            overhead, prices = fit_prices(p.totals[kept], p.latency_ms[kept])
            published.devices_[other] = DeviceCosts(prices, 0.1, 0.3, (), int(kept.sum()), overhead_ms=overhead)
        return {OUR_FLEET: self.shipped, WITH_PUBLISHED: published}


def average_device(costs: OperatorCosts, totals: np.ndarray) -> np.ndarray:
    """Geometric mean of what the known devices are predicted to take: before anything is measured."""
    each = [scaled(totals) @ c.prices + c.overhead_ms for c in costs.devices_.values()]
    mean: np.ndarray = np.exp(np.mean(np.log(np.maximum(each, 1e-9)), axis=0))
    return mean


def judge(name: str, fleet: Mapping[str, Published], seeds: int) -> tuple[list[dict], dict]:
    """Rows of the study for one device, and one row of what is known of it with all its networks."""
    device, fleets = fleet[name], Fleets(name, fleet)
    predicted: dict[tuple[str, int, str, int], np.ndarray] = {}

    def put(key: tuple[str, int, str, int], test: np.ndarray, latency: np.ndarray) -> None:
        predicted.setdefault(key, np.full(len(device.latency_ms), np.nan))[test] = latency

    def try_all(left_out: str, known: dict[str, OperatorCosts], candidates: np.ndarray, test: np.ndarray) -> None:
        for method, costs in known.items():
            put((left_out, 0, method, 0), test, average_device(costs, device.totals[test]))
        put((left_out, 0, LINE, 0), test, device.macs[test])
        for n in (n for n in MEASURED if n <= len(candidates)):
            for seed in range(seeds):
                chosen = np.random.default_rng([seed, n]).permutation(candidates)[:n]
                rest = np.setdiff1d(test, chosen)
                totals, latency_ms = device.totals[chosen], device.latency_ms[chosen]
                for method, costs in known.items():
                    learnt = costs.adapt([Networks("published", totals, latency_ms)])
                    latency = scaled(device.totals[rest]) @ learnt.prices + learnt.overhead_ms
                    put((left_out, n, method, seed), rest, latency)
                put((left_out, n, OWN, seed), rest, fit_prices(totals, latency_ms).predict(device.totals[rest]))
                line = line_in_macs(device.macs[chosen], latency_ms)
                put((left_out, n, LINE, seed), rest, line[0] + line[1] * device.macs[rest])

    everything = np.arange(len(device.latency_ms))
    try_all("device", fleets.without(None), everything, everything)
    by_line = np.empty(len(everything))
    for family in np.unique(device.families):
        out = device.families == family
        others, same = np.flatnonzero(~out), np.flatnonzero(out)
        try_all("device and family", fleets.without(family), others, same)
        line = line_in_macs(device.macs[others], device.latency_ms[others])
        by_line[same] = line[0] + line[1] * device.macs[same]
    rows = []
    for (left_out, n, method, seed), latency in predicted.items():
        there = np.isfinite(latency)
        if left_out == "device and family" and not there.all():
            continue  # too few networks outside a family
        found = score(latency[there], device.latency_ms[there])
        if method == LINE and n == 0:
            found["mape"] = float("nan")  # MACs are no milliseconds
        about = {"device": name, "kind": kind_of(device.condition), "left_out": left_out, "n": n, "seed": seed}
        rows.append(about | {"method": method} | found)
    return rows, _known_by_all(name, device, by_line)


def kind_of(condition: Condition) -> str:
    """NPUs in int8 and in float16 are told apart."""
    return f"{condition.kind} {condition.precision}"


def _known_by_all(name: str, device: Published, by_line: np.ndarray) -> dict:
    left_out = leave_out(device.totals, device.latency_ms, device.families)
    families, smallest = left_out.errors(device.latency_ms)
    line, std = score(by_line, device.latency_ms), left_out.std(device.latency_ms)
    distance = relative_errors(left_out.families_ms, device.latency_ms) / std
    return {
        "device": name,
        "kind": kind_of(device.condition),
        "networks": len(device.latency_ms),
        "families": len(np.unique(device.families)),
        "families_left_out": families,
        "spearman": score(left_out.families_ms, device.latency_ms)["spearman"],
        "smallest_left_out": smallest,
        "std": std,
        "within_one_std": float((np.abs(distance) < 1).mean()),
        "within_two_std": float((np.abs(distance) < 2).mean()),
        "below_upper": float((distance <= UPPER).mean()),
        "line_families_left_out": line["mape"],
        "line_spearman": line["spearman"],
    }
