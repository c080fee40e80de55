"""Each configuration of our own fleet left out in turn, and learnt from ten networks that the predictor asks for.

``python -m experiments.own_fleet`` (from the repository's root) reads the shipped tables of this project's own
measurements, 200 networks of ``mobilenet_v3_small_images`` on each of several runtimes, and writes ``results/`` and
the fleet that the project ships, ``latency_tables/fleets/mobilenet_v3_small_images.json``.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy is imported: small matrices

import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

import latency_tables  # noqa: E402
from experiments.conditions import machine, write_facts  # noqa: E402
from experiments.latency_transfer.run import adapt_in_turn  # noqa: E402
from latency_tables.files import atomic_path  # noqa: E402
from latency_tables.table import read_table  # noqa: E402
from predictors.held_out import latency_errors  # noqa: E402
from predictors.latency import LatencyPredictor, Measurements  # noqa: E402
from search_spaces import SearchSpace, get_space  # noqa: E402

RESULTS = Path(__file__).with_name("results")
SHIPPED = Path(latency_tables.__file__).parent
N_MEASURED = 10
SEEDS = range(5)


def measured_fleet(space: SearchSpace) -> list[Measurements]:
    """Our own tables of `space`, one device each."""
    fleet = []
    for path in sorted(SHIPPED.glob("epyc-*.csv")):
        rows = read_table(path, find_space=get_space).select(space.name)
        population = np.stack([space.parse(name) for name in rows["architecture"]])
        fleet.append(Measurements(path.stem, population, rows["latency_ms"].to_numpy()))
    return fleet


def main() -> None:
    facts = machine("numpy", "scipy") | {"seeds": list(SEEDS)}
    print(json.dumps(facts), file=sys.stderr)
    space = get_space("mobilenet_v3_small_images")
    fleet = measured_fleet(space)
    LatencyPredictor(space).fit(fleet).save(SHIPPED / "fleets" / f"{space.name}.json")
    rows = []
    for target in fleet:
        others = [device for device in fleet if device.device != target.device]
        for method, sources in (("with the fleet", others), ("alone", [])):
            for seed in SEEDS:
                rng = np.random.default_rng(seed)
                pool = np.sort(rng.permutation(len(target.latency_ms))[:150])
                predictor = LatencyPredictor(space, random_state=seed).fit(sources)
                candidates, latency_ms = target.population[pool], target.latency_ms[pool]
                chosen = pool[adapt_in_turn(predictor, candidates, latency_ms, N_MEASURED)]
                rest = np.setdiff1d(np.arange(len(target.latency_ms)), chosen)
                predicted, std = predictor.predict(target.population[rest], return_std=True)
                errors = latency_errors(target.latency_ms[rest], predicted, std)
                rows.append({"left_out": target.device, "method": method, "seed": seed} | vars(errors))
        macs = space.costs(target.population).macs / 1e6
        for seed in SEEDS:
            chosen = np.random.default_rng(seed).permutation(len(macs))[:N_MEASURED]
            rest = np.setdiff1d(np.arange(len(macs)), chosen)
            line = np.polyfit(macs[chosen], target.latency_ms[chosen], 1)
            errors = latency_errors(target.latency_ms[rest], np.polyval(line, macs[rest]), np.ones(len(rest)))
            kept = {key: value for key, value in vars(errors).items() if "sigma" not in key}
            rows.append({"left_out": target.device, "method": "MACs line", "seed": seed} | kept)
    table = pd.DataFrame(rows)
    summary = table.drop(columns=["seed", "n"]).groupby(["left_out", "method"]).mean().round(4)
    for name, frame in (("runs", table.round(5)), ("summary", summary.reset_index())):
        with atomic_path(RESULTS / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    write_facts(RESULTS / "conditions.json", facts)
    print(summary.to_string())


if __name__ == "__main__":
    main()
