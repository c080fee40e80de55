"""`nas devices`: the devices, and what is known of each."""

import json
from pathlib import Path

from nas.cli.config import ListConfig
from nas.cli.console import output, table
from nas.devices import list_devices


def run(config: ListConfig, folder: Path) -> int:
    """Print a table, or a JSON list, of the devices."""
    devices = list_devices(folder=Path(config.runs) / "devices")
    if config.json:
        rows = [
            {
                "name": known.spec.name,
                "aliases": list(known.spec.aliases),
                "chip": known.spec.chip or (known.card.chip if known.card else ""),
                "transport": known.spec.transport,
                "runtime": known.spec.runtime,
                "precision": known.spec.precision,
                "measurements": dict(known.spaces),
                "table": None if known.table is None else str(known.table),
            }
            for known in devices
        ]
        print(json.dumps(rows))
        return 0
    shown = table("device", words=("chip", "reached by", "runtime", "known networks"))
    for known in devices:
        spec = known.spec
        shown.add_row(
            ", ".join((spec.name, *spec.aliases)),
            spec.chip or (known.card.chip if known.card else "this machine" if spec.transport == "local" else ""),
            "published figures" if spec.transport == "none" else spec.transport,
            f"{spec.runtime} {spec.precision}",
            ", ".join(f"{count} {space}" for space, count in known.spaces) or "none yet",
        )
    output.print(shown)
    return 0
