"""`nas measure`: latencies of networks on a device, kept in its table."""

import json
import shlex
from pathlib import Path

import numpy as np

from nas.cli.arguments import OF_ONE_MEASURING, as_typed, measure_command
from nas.cli.call import Call
from nas.cli.config import MeasureConfig
from nas.cli.console import output, remarks, table, track
from nas.devices import get_device
from nas.devices.importing import SAMPLES, import_table
from nas.devices.learning import check_again, describe_need, measure_informative
from nas.progress import Listener, counted


def run(config: MeasureConfig, call: Call) -> int:
    """Measure, and show what the device's table now holds of the space."""
    if config.again and (config.suggest or config.source is not None):
        raise ValueError(
            f"--again measures networks that are known; leave {'--suggest' if config.suggest else '--import'} out"
        )
    if config.source is not None:
        return _import(config, call)
    listener = Listener(say=remarks.print, track=track)
    device = get_device(
        config.device,
        folder=Path(config.runs) / "devices",
        listener=listener,
        batch=config.batch,
        threads=config.device_threads,
    )
    device.check_table()
    space = config.space.make()
    last = device.table.known(space)[0][-config.samples :]
    if config.again and not len(last):
        raise ValueError(
            f"no network of {space.name} is known on {device.name} to be measured again; leave --again out"
        )
    with track(f"measuring on {device.name}") as progress:
        if config.again:
            measured = device.measure(space, last, fresh=True, progress=progress)
        elif config.suggest:
            before = len(device.table.known(space)[0])
            wanted = before + config.samples
            measured = measure_informative(device, space, wanted, config.seed, besides=before, progress=progress)
        else:
            population = space.sample(config.samples, np.random.default_rng(config.seed), tilt=1.5)
            measured = device.measure(space, population, progress=progress)
        about = measured.card.conditions
        slowed = about["sessions"][-1].get("slowed") if about["warnings"] else None
        predictor, again = check_again(device, space, progress)
        if again:
            names = measured.rows["architecture"]
            measured = device.measure(space, np.stack([space.parse(name) for name in names]))
    for sentence in again:
        remarks.print(sentence)
    latency = measured.rows["latency_ms"]
    known = len(device.table.known(space)[0])
    if config.json:
        rows = measured.rows[["architecture", "latency_ms", "p10_ms", "p90_ms"]].to_dict("records")
        print(
            json.dumps(
                {
                    "device": device.name,
                    "space": space.name,
                    "batch": device.batch,
                    "table": str(device.table.path),
                    "rows": rows,
                }
            )
        )
        return 0
    shown = table("architecture", "ms", "p10", "p90")
    for row in measured.rows.sort_values("latency_ms").to_dict("records"):
        shown.add_row(row["architecture"], *(f"{row[key]:.3f}" for key in ("latency_ms", "p10_ms", "p90_ms")))
    output.print(shown)
    output.print(
        f"{counted(len(latency), 'network')}, {latency.min():.3f} to {latency.max():.3f} ms; "
        f"{known} of {space.name} are known on {device.name} ({device.table.path})"
    )
    need = None
    if slowed:
        need = f"when it is cool: {measure_command(config, device, '--again', '--samples', str(slowed))}"
    elif hasattr(predictor, "errors_"):
        need = describe_need(
            predictor, device, lambda more: measure_command(config, device, "--suggest", "--samples", str(more))
        )
    remarks.print(need or _next(config, device.name))
    return 0


def _next(config: MeasureConfig, device: str) -> str:
    return f"next: {shlex.join(['nas', 'fit', '--device', device, *as_typed(config, OF_ONE_MEASURING)])}"


def _import(config: MeasureConfig, call: Call) -> int:
    if not call.says("device"):
        raise ValueError("--import takes latencies of one device: say which with --device NAME")
    files = [Path(name).expanduser() for name in str(config.source).split(",")]
    if call.says("samples") and files[0].suffix.lower() == ".csv":
        raise ValueError("--samples is for block tables, a CSV file is taken whole; leave --samples out")
    table = import_table(
        files,
        config.device,
        space=config.space.make(),
        batch=config.batch if call.says("batch") else None,
        threads=config.device_threads,
        samples=config.samples if call.says("samples") else SAMPLES,
        seed=config.seed,
        folder=Path(config.runs) / "devices",
        listener=Listener(say=remarks.print),
    )
    device = table.card.name
    counts = {str(name): int(count) for name, count in table.rows["space"].value_counts().items()}
    if config.json:
        print(json.dumps({"device": device, "networks": counts}))
        return 0
    known = " and ".join(f"{counted(count, 'network')} of {name}" for name, count in counts.items())
    output.print(f"{device} now has {known}")
    remarks.print(_next(config, device))
    return 0
