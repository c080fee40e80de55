"""`nas search --from RUN`: another budget, answered at once by what a finished search learnt. Imports little."""

import json
import shlex
from pathlib import Path

from latency_tables.files import write_text
from nas.cli.call import Call
from nas.cli.config import SearchConfig
from nas.cli.console import output, remarks
from nas.cli.figures import show_figures
from nas.pipeline.request import latency_limits
from nas.search.budget import Budget
from nas.search.warm_start import answer_from, load_run


def run(config: SearchConfig, call: Call) -> int:
    """Answer, and keep the answer as result.json in the run folder."""
    folder_before = Path(str(config.former))
    previous = load_run(folder_before)
    if call.says("confidence"):
        previous.objectives.confidence = config.confidence
    limits = latency_limits(config.limits["latency"], previous.devices)
    latency = limits if len(limits) > 1 else next(iter(limits.values()))
    found = answer_from(previous, Budget.parse(**config.limits | {"latency": latency}), config.seed)
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
        words = ["nas", "search", *(["--supernet", supernet] if (supernet := previous.about.get("supernet")) else [])]
        words += ["--device", ",".join(previous.devices)]
        words += ["--shared"] if len(previous.devices) > 1 else []
        words += ["--batch", str(config.batch)] if config.batch not in (1, None) else []
        words += ["--threads", str(config.device_threads)] if config.device_threads is not None else []
        for flag, text in config.limits.items():
            words += [] if text is None else [f"--{flag}", text]
        remarks.print(f"predicted by what {folder_before} learnt; to measure and export, type: {shlex.join(words)}")
    return 0
