"""How fast the networks of each search space are here: ``python -m experiments.space_latencies`` (repository's root).

Measures the smallest, the largest and the named networks of every space at one image, in ONNX Runtime and in LiteRT, as
`nas measure` does. Writes ``results/latencies.csv`` and ``results/conditions.json``; ``--spaces a,b`` takes some of the
spaces, whose rows replace those of the table.
"""

import argparse
import json
import os
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from latency_tables.files import write_text
from nas.devices import get_device
from search_spaces import SPACES, get_space

RESULTS = Path(__file__).parent / "results"
RUNTIMES = {"onnxruntime_ms": "cpu", "litert_ms": "cpu-litert"}


def measured(name: str) -> pd.DataFrame:
    """A row for each network: MACs and parameters in millions, milliseconds in both runtimes."""
    space = get_space(name)
    rows = {"smallest": space.min, "largest": space.max}
    rows |= {known: space.parse(architecture) for known, architecture in space.named.items()}
    population = np.stack(list(rows.values()))
    costs = space.costs(population)
    table = pd.DataFrame(
        {
            "space": name,
            "network": list(rows),
            "resolution": space.resolution(population),
            "mmacs": np.round(costs.macs / 1e6, 1),
            "mparams": np.round(costs.params / 1e6, 2),
        }
    )
    for column, device in RUNTIMES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = get_device(device, folder=Path(folder)).measure(space, population)
        table[column] = found.rows["latency_ms"].to_numpy().round(3)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.space_latencies", description=__doc__)
    parser.add_argument("--spaces", default=",".join(SPACES), help="with commas between (default all)")
    asked = parser.parse_args()
    packages = ("onnxruntime", "ai-edge-litert", "numpy")
    conditions = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread", "load": os.getloadavg()[0]}
    conditions |= {"python": platform.python_version(), **{package: version(package) for package in packages}}
    print(json.dumps(conditions, indent=1))
    path = RESULTS / "latencies.csv"
    for name in asked.spaces.split(","):
        table = measured(name)
        print(table.to_string(index=False), flush=True)
        known = pd.read_csv(path) if path.is_file() else table.iloc[:0]
        write_text(path, pd.concat([known[known["space"] != name], table]).to_csv(index=False))
    write_text(RESULTS / "conditions.json", json.dumps(conditions, indent=1) + "\n")


if __name__ == "__main__":
    main()
