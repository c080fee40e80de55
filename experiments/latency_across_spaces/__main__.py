"""How far do operator costs carry from one search space to another?

``python -m experiments.latency_across_spaces`` fits the fleet of HELP on NAS-Bench-201 and FBNet, writes the
operator costs that the project ships, and predicts two phones in spaces that the fleet was never measured in.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import latency_tables
from experiments.conditions import machine, write_facts
from experiments.latency_across_spaces.block_tables import note10_networks, pixel1_networks
from experiments.latency_across_spaces.figure import draw
from experiments.latency_transfer.data import data_folder, load_fleet
from latency_tables.card import read_card
from latency_tables.files import atomic_path
from latency_tables.table import read_table
from predictors.latency import MIN_MEASUREMENTS, LatencyPredictor
from predictors.latency.expectation import MEAN_DISTANCE
from predictors.latency.transfer import Networks, OperatorCosts, Part
from predictors.latency.width import UPPER
from predictors.operators import WIDTH, OperatorTotals
from search_spaces import SearchSpace, get_space

RESULTS = Path(__file__).with_name("results")
SHIPPED = Path(latency_tables.__file__).with_name("operator_costs.json")
N_FLEET = 600  # networks of each space; more changes no price visibly
SEEDS = 20


def fleet_parts(seed: int) -> dict[str, list[Part]]:
    """A sample of what was measured on every device that both spaces were measured on."""
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Part]] = {}
    for name in ("nasbench201", "fbnet"):
        fleet = load_fleet(name)
        # Some devices run layers that no output needs and some do not: prices are learnt where there are none.
        totals = OperatorTotals(fleet.space)(fleet.population)
        all_work = (totals[:, :WIDTH] == totals[:, 2 * WIDTH :]).all(axis=1)
        rows = rng.permutation(np.flatnonzero(fleet.usable & all_work))[:N_FLEET]
        for device, latency in fleet.latency_ms.items():
            parts.setdefault(device, []).append(Part(fleet.space, fleet.population[rows], latency[rows]))
    return {device: both for device, both in parts.items() if len(both) == 2}


def learn(fleet: Mapping[str, Sequence[Part | Networks]]) -> OperatorCosts:
    """What operators cost the devices of a fleet, each at the batch of its card."""
    cards = {name: read_card(SHIPPED.with_name(f"{name}.yaml")) for name in fleet}
    costs = OperatorCosts().fit(fleet, simulated=[name for name, card in cards.items() if card.simulated])
    for name, card in cards.items():
        costs.devices_[name] = replace(costs.devices_[name], batch=card.conditions.get("batch", 1))
    return costs


def published_parts(device: str) -> list[Part]:
    """The published networks of a device, each a part of its own, as each has its own resolution."""
    rows = read_table(Path(latency_tables.__file__).with_name(f"{device}.csv")).rows
    parts = []
    for row in rows.to_dict("records"):
        space = get_space(row["space"], resolutions=(row["resolution"],))
        parts.append(Part(space, space.parse(row["architecture"])[None], np.array([row["latency_ms"]])))
    return parts


def macs_line(parts: list[Part]) -> Callable[[Part], np.ndarray]:
    """Latency as a line in MACs, fitted on relative errors; through the origin where one network is all."""
    macs = np.concatenate([p.space.costs(p.population).macs for p in parts]) / 1e6
    latency = np.concatenate([p.latency_ms for p in parts])
    design = np.stack([np.ones_like(macs), macs], axis=1) / latency[:, None]
    line = np.linalg.lstsq(design, np.ones(len(latency)), rcond=None)[0]
    return lambda part: line[0] + line[1] * part.space.costs(part.population).macs / 1e6


def errors(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    relative = np.abs(predicted / measured - 1)
    return {
        "spearman": float(spearmanr(predicted, measured)[0]),
        "mape": float(relative.mean()),
        "within_10": float((relative < 0.1).mean()),
    }


def judge(
    predicted: np.ndarray, std: np.ndarray, measured: np.ndarray, claimed: float | None = None
) -> dict[str, float]:
    """Errors, what the intervals hold, and the claimed error over the true one.

    Without `claimed`, it is what the intervals say of these networks, as `expected_errors` is of all of the space.
    """
    sigma = np.abs(predicted - measured) / std
    found = errors(predicted, measured)
    if claimed is None:
        claimed = MEAN_DISTANCE * float((std / predicted).mean())
    return found | {
        "within_one_sigma": float((sigma < 1).mean()),
        "within_two_sigma": float((sigma < 2).mean()),
        "below_upper": float((measured <= predicted + UPPER * std).mean()),
        "claimed_over_true": claimed / found["mape"],
    }


def within(space: SearchSpace) -> Callable[[Part], Part | None]:
    """The same networks as ones of `space`; None where it cannot hold them."""

    def convert(part: Part) -> Part | None:
        if part.space.name != space.name:
            return None
        try:
            rows = np.stack([space.parse(name) for name in part.space.format(part.population)])
        except ValueError:
            return None
        return Part(space, rows, part.latency_ms)

    return convert


def product_predictor(costs: OperatorCosts, space: SearchSpace, elsewhere: list[Part]) -> LatencyPredictor:
    """What the product adapts in a space without a measured fleet: see `nas.devices.learning`."""
    others = np.stack([device.single_prices for device in costs.devices_.values()], axis=1)
    own = costs.adapt(elsewhere).single_prices if elsewhere else None
    return LatencyPredictor(space).know_costs(others, own)


def left_out_devices(fleet: dict[str, list[Part]]) -> pd.DataFrame:
    """Every device of the fleet as one measured on ten networks of the one space, or none, and few of the other.

    Prices and widths are learnt from the other devices.
    """
    rows = []
    totals = {name: [Networks(p.name, p.totals, p.latency_ms) for p in parts] for name, parts in fleet.items()}
    for device, parts in fleet.items():
        others = learn({name: theirs for name, theirs in totals.items() if name != device})
        for here, elsewhere in (parts, parts[::-1]):
            known = [Part(elsewhere.space, elsewhere.population[:10], elsewhere.latency_ms[:10])]
            test = Part(here.space, here.population[20:], here.latency_ms[20:])
            for given, n in ((known, 0), (known, 3), (known, 5), (known, 10), ([], 3), ([], 5), ([], 10)):
                if n == 0:
                    learnt = others.adapt(given).for_space(here.space)
                    predicted, claimed = learnt.predict(test.population, return_std=True), learnt.expected_error
                else:
                    predictor = product_predictor(others, here.space, given)
                    predictor.adapt(here.population[:n], here.latency_ms[:n])
                    predicted, claimed = predictor.predict(test.population, return_std=True), None
                found = judge(*predicted, test.latency_ms, claimed)
                about = {"device": device, "space": here.space.name, "elsewhere": 10 if given else 0, "n": n}
                rows.append(about | found)
    return pd.DataFrame(rows)


def study(costs: OperatorCosts, device: str, target: Part, published: list[Part]) -> list[dict]:
    """Errors on `target` after adapting to published networks, or to networks of the target's own table."""
    rows = []

    def record(source: str, n: int, seed: int, parts: list[Part], test: Part) -> None:
        about = {"device": device, "target_networks": source, "n": n, "seed": seed}
        learnt = costs.adapt(parts).for_space(test.space)
        found = judge(*learnt.predict(test.population, return_std=True), test.latency_ms, learnt.expected_error)
        rows.append(about | {"method": "operator costs"} | found)
        inside = [part for part in map(within(test.space), parts) if part is not None]
        population = np.concatenate([part.population for part in inside]) if inside else []
        if len(population) >= MIN_MEASUREMENTS:
            latency = np.concatenate([part.latency_ms for part in inside])
            others = [part for part in parts if within(test.space)(part) is None]
            predictor = product_predictor(costs, test.space, others).adapt(population, latency)
            predicted, std = predictor.predict(test.population, return_std=True)
            found = judge(predicted, std, test.latency_ms)
            rows.append(about | {"method": "latency predictor"} | found)
        if n >= 2:
            rows.append(about | {"method": "MACs line"} | errors(macs_line(parts)(test), test.latency_ms))

    nobody = np.mean([c.for_space(target.space).predict(target.population) for c in costs.devices_.values()], axis=0)
    macs = target.space.costs(target.population).macs
    for method, guess in (("operator costs", nobody), ("MACs line", macs)):
        rank = errors(guess, target.latency_ms)["spearman"]
        rows.append(
            {"device": device, "target_networks": "none", "n": 0, "seed": 0, "method": method, "spearman": rank}
        )
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(published))
        for n in (3, len(published)):
            if n < len(published) or seed == 0:
                record("published", n, seed, [published[i] for i in order[:n]], target)
        chosen = rng.permutation(len(target.population))
        for n in (3, 7, 10):
            here, rest = chosen[:n], chosen[n:]
            near = Part(target.space, target.population[here], target.latency_ms[here])
            record(
                "of the table", n, seed, [near], Part(target.space, target.population[rest], target.latency_ms[rest])
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the networks sampled from the fleet and the tables")
    seed = parser.parse_args().seed
    facts = machine("numpy", "scipy", "pandas") | {"seed": seed}
    print(json.dumps(facts), file=sys.stderr)
    luts = data_folder() / "luts"
    fleet = fleet_parts(seed)
    costs = learn(fleet)
    costs.save(SHIPPED)
    rows = study(costs, "pixel1", pixel1_networks(luts, seed), published_parts("pixel1"))
    rows += study(costs, "note10", note10_networks(luts, seed), published_parts("note10"))
    table = pd.DataFrame(rows)
    summary = table.drop(columns="seed").groupby(["device", "target_networks", "n", "method"]).mean().round(4)
    left_out = left_out_devices(fleet)
    kinds = left_out.drop(columns="device").groupby(["space", "elsewhere", "n"])
    kinds = kinds.mean().join(kinds["claimed_over_true"].median().rename("claimed_over_true_median")).round(4)
    frames = {"runs": table.round(5), "summary": summary.reset_index(), "left_out_devices": left_out.round(4)}
    for name, frame in (frames | {"left_out": kinds.reset_index()}).items():
        with atomic_path(RESULTS / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    write_facts(RESULTS / "conditions.json", facts)
    draw(summary.reset_index(), RESULTS / "across_spaces.png")
    print(f"standard deviation of a device left out, in the space it was not measured in: {costs.across_:.0%}")
    print(summary.to_string())
    print(kinds.to_string())


if __name__ == "__main__":
    main()
