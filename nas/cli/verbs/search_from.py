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
from nas.search.warm_start import answer_from, load_state


def run(config: SearchConfig, call: Call) -> int:
    """Answer, and keep the answer as result.json in the run folder."""
    former = Path(str(config.former))
    state = load_state(former)
    if call.says("confidence"):
        state.estimator.confidence = config.confidence
    limits = latency_limits(config.budget.latency, state.devices)
    latency = limits if len(limits) > 1 else next(iter(limits.values()))
    found = answer_from(state, Budget.parse(**config.limits | {"latency": latency}), config.seed)
    space = state.estimator.space
    record = {
        "from": str(former),
        "space": {"name": space.name, "options": space.options, "size": space.size},
        **state.about,
        "genotype": found.genotype.tolist(),
        "architecture": found.architecture,
        "status": found.status,
        "confidence": state.estimator.confidence,
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
        words = ["nas", "search", "--supernet", str(state.about["supernet"]), "--device", ",".join(state.devices)]
        words += ["--shared"] if len(state.devices) > 1 else []
        for flag, text in config.limits.items():
            words += [] if text is None else [f"--{flag}", text]
        remarks.print(f"predicted by what {former} learnt; to measure and export, type: {shlex.join(words)}")
    return 0
