"""`nas search --from RUN`: another budget, answered at once by what a finished search learnt. Imports little."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path

from latency_tables.files import write_text
from nas.cli.arguments import as_typed
from nas.cli.call import Call
from nas.cli.config import SearchConfig
from nas.cli.console import output, remarks
from nas.cli.figures import show_figures
from nas.pipeline.request import latency_limits, where_images_are
from nas.search.throughput import check_batch
from nas.search.warm_start import answer_from, load_run

SAID_OTHERWISE = {"former", "name", "json", "device", "data", "moved_data", "usual_start", "storage"}
SAID_OTHERWISE |= {"supernet", "space", "recipe", "train_time", "model", "weights", "init"}
"""Settings that the command for measuring says in another way, or that its supernet has from its training."""


def run(config: SearchConfig, call: Call) -> int:
    """Answer, and keep the answer as result.json in the run folder."""
    folder_before = Path(str(config.former))
    previous = load_run(folder_before)
    if call.says("confidence"):
        previous.objectives.confidence = config.confidence
    limits = latency_limits(config.limits["latency"], previous.devices)
    latency = limits if len(limits) > 1 else next(iter(limits.values()))
    for key, predictor in previous.objectives.latencies.items():
        name = key.device or next(iter(previous.devices))
        check_batch(config.budget.throughput, config.batch or 1, name, predictor, answered=True)
    found = answer_from(previous, config.budget_of(latency), config.seed)
    space = previous.objectives.space
    record = {
        "from": str(folder_before),
        "space": {"name": space.name, "options": space.options, "size": space.size},
        **previous.about,
        "genotype": found.genotype.tolist(),
        "architecture": found.architecture,
        "status": found.status,
        "confidence": previous.objectives.confidence,
        "seed": config.seed,
        "predicted": found.predicted,
        "measured": found.measured,
        "costs": found.costs,
        "budgets": found.budget.judged(found.predicted, found.measured, found.costs),
        "command": call.command,
    }
    write_text(call.folder / "result.json", json.dumps(record, indent=2) + "\n")
    if config.json:
        print(json.dumps(record | {"folder": str(call.folder)}))
        return 0
    show_figures(record)
    output.print(f"architecture {found.architecture}")
    if found.status == "predicted":
        words = measuring(config, previous.about.get("supernet"), previous.devices)
        remarks.print(f"predicted by what {folder_before} learnt; to measure and export, type: {shlex.join(words)}")
    return 0


def measuring(config: SearchConfig, supernet: str | None, devices: Iterable[str]) -> list[str]:
    """The command that measures and exports what was answered.

    Parameters
    ----------
    config : settings of the former search with the new budget.
    supernet, devices : those of the former search.
    """
    words = ["nas", "search", *(["--supernet", supernet] if supernet else [])]
    data = config.data if config.moved_data is None else config.moved_data
    if root := (where_images_are(config) or {}).get("root"):
        words += ["--data", root] if data.name == "folder" else [f"data.root={root}"]
    # Of a search in both precisions, the device says which of them this answer is of.
    said = SAID_OTHERWISE | ({"precision"} if config.precision == "auto" else set())
    return [*words, "--device", ",".join(devices), *as_typed(config, said)]
