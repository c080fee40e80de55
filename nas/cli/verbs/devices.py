"""`nas devices`: the devices, and what is known of each."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.cli.call import Call
from nas.cli.config import ListConfig
from nas.cli.console import output, remarks, table, track
from nas.devices import Device, list_devices
from nas.devices.learning import device_costs, device_predictor
from nas.devices.registry import KnownDevice
from nas.progress import Listener
from search_spaces import get_space


def run(config: ListConfig, call: Call) -> int:
    """Print a table, or a JSON list, of the devices."""
    tables = Path(config.runs) / "devices"
    listener = Listener(say=remarks.print)
    known = list_devices(folder=tables, listener=listener)
    rows = []
    with track("looking at devices") as progress:
        for number, device in enumerate(known):
            try:
                rows.append(_row(device, Device(device.spec, folder=tables / device.spec.name)))
            except ValueError as error:  # of its own files; the other devices are shown all the same
                remarks.print(f"warning: {device.spec.name}: {error}")
                rows.append(_row(replace(device, problem=str(error)), Device(device.spec)))
            progress(number + 1, len(known))
    if config.json:
        print(json.dumps(rows))
        return 0
    shown = table("device", words=("chip", "runtime", "learnt from", "error", "figures"))
    for row in rows:
        shown.add_row(
            ", ".join((row["name"], *row["aliases"])),
            row["chip"],
            " ".join(filter(None, (row["runtime"], row["precision"]))),
            ", ".join(f"{count:,} {space}" for space, count in row["networks"].items()) or "nothing yet",
            ", ".join(f"{error:.0%} {where}" for where, error in row["errors"].items()),
            row["figures"],
        )
    output.print(shown)
    output.print(
        "error: expected of other networks of a space; elsewhere: in a space that was never measured on the device"
    )
    return 0


def _row(known: KnownDevice, device: Device) -> dict[str, Any]:
    spec, card = known.spec, known.card
    networks, errors = dict(known.spaces), {}
    if known.problem:
        figures = "cannot be used"
    elif device.can_measure:
        device.table.check_conditions()
        for name in networks:
            try:
                space = get_space(name)
            except ValueError:
                continue  # a given network, known to its own weights
            predictor = device_predictor(device, space)
            if hasattr(predictor, "errors_"):
                errors[name] = round(predictor.errors_.mape, 4)
        figures = f"measured, {spec.transport}" if networks else f"to be measured, {spec.transport}"
    else:
        costs = device_costs(device)
        if costs is not None:
            errors = {"here": round(costs.expected_error, 4), "elsewhere": round(costs.expected_error_elsewhere, 4)}
            networks = networks or {space: costs.n // len(costs.spaces) for space in costs.spaces}
        ours = card is not None and card.provenance == "measured"
        figures = "measured elsewhere" if ours else "published" if known.spaces else "operator costs"
        figures += ", simulated" if card is not None and card.simulated else ""
    return {
        "name": spec.name,
        "aliases": list(spec.aliases),
        "chip": spec.chip or (card.chip if card else "") or ("this machine" if spec.transport == "local" else ""),
        "transport": spec.transport,
        "runtime": spec.runtime,
        "precision": spec.precision,
        "networks": networks,
        "errors": errors,
        "figures": figures,
        "citation": card.citation if card else "",
    }
