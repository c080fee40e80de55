"""`nas fit`: a latency predictor of a device from its measurements, with its error."""

import json
import shlex
from dataclasses import asdict
from math import isnan
from pathlib import Path

from latency_tables.files import atomic_path
from latency_tables.writable import RUNS_HINT, check_writable
from nas.cli.arguments import as_typed, measure_command
from nas.cli.call import Call
from nas.cli.config import FitConfig
from nas.cli.console import output, remarks, table
from nas.devices import get_device
from nas.devices.learning import device_predictor, remarks_on
from nas.progress import Listener
from nas.report.drawing import png
from nas.report.held_out import held_out_figure
from predictors.latency import MIN_MEASUREMENTS
from search_spaces.settings import SpaceSettings

_OF_THE_FIT = {"device", "name", "json"}


def run(config: FitConfig, call: Call) -> int:
    """Fit, save the device profile, show the error to expect, and plot what was left out against its prediction."""
    device = get_device(
        config.device,
        folder=Path(config.runs) / "devices",
        listener=Listener(say=remarks.print),
        batch=config.batch,
        threads=config.device_threads,
    )
    check_writable(device.table.folder, RUNS_HINT)
    space = config.space.make()
    device.check_table()
    predictor = device_predictor(device, space)
    if not hasattr(predictor, "errors_"):
        raise ValueError(
            f"at least {MIN_MEASUREMENTS} networks of {space.name} must have been measured on {device.name}; "
            f"type: {measure_command(config, device)}"
        )
    profile = device.table.profile_path(space)
    with device.table.locked(Listener(say=remarks.print)):
        predictor.save(profile)
    errors = predictor.errors_
    figure = held_out_figure(
        predictor.latency_ms_, predictor.left_out_ms_, predictor.left_out_std_ms_, f"{device.name}, {space.name}"
    )
    plot = call.folder / "parity.png"
    with atomic_path(plot) as temporary:
        temporary.write_bytes(png(figure))
    doubted = space.format(predictor.measured_[predictor.suspicious_]) if len(predictor.suspicious_) else []
    if config.json:
        figures = {name: None if isnan(value) else value for name, value in asdict(errors).items()}
        record = {
            "device": device.name,
            "space": space.name,
            "batch": device.batch,
            "profile": str(profile),
            "plot": str(plot),
            "known": len(device.table.known(space)[0]),
            "errors": figures,
            "left_out": doubted,
            "measure_more": predictor.further_measurements_,
        }
        print(json.dumps(record))
        return 0
    shown = table(f"{device.name}, {space.name}", "expected")
    shown.add_row("networks", str(errors.n))
    shown.add_row("mean absolute error", f"{errors.mape:.1%}")
    shown.add_row("within 10 %", f"{errors.within_10:.0%}")
    rank = "unknown" if isnan(errors.spearman) else f"{errors.spearman:.3f}"
    shown.add_row("rank correlation (Spearman)", rank)
    shown.add_row("measured ones inside one sigma (68 % is honest)", f"{errors.within_one_sigma:.0%}")
    output.print(shown)
    for name in doubted:
        remarks.print(f"left out, as it does not fit the other measurements: {name}")

    def more_networks(more: int) -> str:
        return measure_command(config, device, "--suggest", "--samples", str(more))

    for remark in remarks_on(predictor, device, space, more_networks):
        remarks.print(remark)
    output.print(f"profile {profile}\nplot    {plot}", soft_wrap=True)
    remarks.print(f"next: {shlex.join(_search(config, device.name))}")
    return 0


def _search(config: FitConfig, device: str) -> list[str]:
    """A search in the space that was fitted."""
    words, usual = ["nas", "search"], SpaceSettings()
    if config.space != usual:
        words += ["--data", "./photos"]
        if config.space.name == usual.name:  # of which photographs are not searched by default
            words += ["--space", usual.name]
    return [*words, "--device", device, *as_typed(config, _OF_THE_FIT), "--latency", "60%"]
