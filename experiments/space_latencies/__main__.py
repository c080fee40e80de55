"""How fast the networks of each search space are here: ``python -m experiments.space_latencies`` (repository's root).

Measures the smallest, the largest and the named networks of every space at one image, in ONNX Runtime and in LiteRT, as
`nas measure` does, on one thread. Writes ``results/latencies.csv``; ``--spaces a,b`` takes some of the spaces,
whose rows replace those of the table.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.conditions import add_rows, made_on
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
    for name in asked.spaces.split(","):
        table = measured(name).assign(made_on=made_on("onnxruntime", "ai-edge-litert", "numpy"))
        print(table.to_string(index=False), flush=True)
        add_rows(RESULTS / "latencies.csv", table.to_dict("records"), ["space"])


if __name__ == "__main__":
    main()
