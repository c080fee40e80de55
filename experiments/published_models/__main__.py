"""Published latencies of hand-made networks: a hard test of operator costs, and devices known by name.

``python -m experiments.published_models`` traces the networks that `results/` does not have yet, judges every device
that it does not have yet (``--fresh`` judges all anew), and writes the costs and cards of those that err little enough.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import pandas as pd

import latency_tables
from experiments.conditions import differing, installed, write_facts
from experiments.published_models.devices import CONDITIONS
from experiments.published_models.judge import Published, judge, read_published
from experiments.published_models.networks import RESULTS, trace_all
from experiments.published_models.ship import ship
from latency_tables.files import write_text

SEEDS = 5


def _write(name: str, rows: list[dict]) -> None:
    write_text(RESULTS / f"{name}.csv", pd.DataFrame(rows).round(4).to_csv(index=False))


def _read(name: str, fresh: bool) -> list[dict]:
    path = RESULTS / f"{name}.csv"
    return pd.read_csv(path).to_dict("records") if path.exists() and not fresh else []


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Means over the devices of a kind."""
    kinds = ["kind", "left_out", "n", "method"]
    return runs.groupby(kinds, sort=False)[["spearman", "mape"]].mean().round(4).reset_index()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="judge every device anew (tracing is kept)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="draws of the networks that are measured")
    options = parser.parse_args()
    about = {"machine": platform.machine(), "python": platform.python_version(), "seeds": options.seeds}
    about |= {package: installed(package) for package in ("numpy", "scipy", "torch", "torchvision", "timm")}
    kept = RESULTS / "conditions.json"
    if not options.fresh and (differ := differing(kept, about)):
        parser.error(f"the rows in {RESULTS} were made with {', '.join(differ)}; add --fresh to judge all devices anew")
    print(json.dumps(about), file=sys.stderr)
    trace_all()
    fleet: dict[str, Published] = {c.name: p for c in CONDITIONS if (p := read_published(c)) is not None}
    runs, devices = _read("runs", options.fresh), _read("devices", options.fresh)
    done = {row["device"] for row in devices}
    write_facts(kept, about)
    for name in (name for name in fleet if name not in done):
        found, row = judge(name, fleet, options.seeds)
        runs, devices = runs + found, [*devices, row]
        _write("runs", runs)
        _write("devices", devices)
        print(f"{name}: {row['families_left_out']:.1%}, smallest {row['smallest_left_out']:.1%}", flush=True)
    table = summary(pd.DataFrame(runs))
    write_text(RESULTS / "summary.csv", table.to_csv(index=False))
    shipped = ship(fleet, Path(latency_tables.__file__).parent)
    pd.set_option("display.width", 200)
    wide = table.pivot_table(index=["kind", "left_out", "method"], columns="n", values=["mape", "spearman"], sort=False)
    print(wide.to_string())
    print(pd.DataFrame(devices).to_string())
    print("shipped:", ", ".join(shipped))


if __name__ == "__main__":
    main()
