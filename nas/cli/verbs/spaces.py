"""`nas spaces`: the search spaces."""

import json
from typing import Any

import numpy as np

from nas.cli.call import Call
from nas.cli.config import ListConfig
from nas.cli.console import output, table
from search_spaces import SPACES, SearchSpace, get_space


def run(config: ListConfig, call: Call) -> int:
    """Print a table, or a JSON list, of the registered spaces."""
    spaces = [get_space(name) for name in SPACES]
    if config.json:
        print(json.dumps([_row(space) for space in spaces]))
        return 0
    shown = table("name", "networks", "M MACs", "M parameters")
    for row in map(_row, spaces):
        shown.add_row(
            row["name"],
            f"{row['networks']:,}",
            f"{row['min_macs'] / 1e6:.1f} – {row['max_macs'] / 1e6:.1f}",
            f"{row['min_params'] / 1e6:.2f} – {row['max_params'] / 1e6:.2f}",
        )
    output.print(shown)
    return 0


def _row(space: SearchSpace) -> dict[str, Any]:
    costs = space.costs(np.stack([space.min, space.max]))
    return {
        "name": space.name,
        "networks": space.size,
        "genes": len(space.genes),
        "min_macs": int(costs.macs[0]),
        "max_macs": int(costs.macs[1]),
        "min_params": int(costs.params[0]),
        "max_params": int(costs.params[1]),
        "min": space.format(space.min),
        "max": space.format(space.max),
    }
