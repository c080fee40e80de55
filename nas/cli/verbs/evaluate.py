"""`nas evaluate`: the test accuracy of a trained supernet's subnets."""

import json
from dataclasses import asdict
from pathlib import Path

from latency_tables.writable import check_writable
from nas.cli.call import Call
from nas.cli.config import EvaluateConfig
from nas.cli.console import output, remarks, table, track
from nas.evaluation.test_accuracy import evaluate_run, write_evaluated
from nas.evaluation.trained import TrainedSupernet


def run(config: EvaluateConfig, call: Call) -> int:
    """Evaluate subnets of all sizes on test, show and keep the table."""
    check_writable(Path(config.run), "its table would lie there; copy the folder")
    trained = TrainedSupernet.open(Path(config.run))
    with track("evaluating on test") as progress:
        subnets = evaluate_run(trained, config.random, config.seed, progress)
    written = write_evaluated(Path(config.run), subnets)
    if config.json:
        record = {"run": config.run, "test_images": len(trained.data.test), "subnets": [asdict(s) for s in subnets]}
        print(json.dumps(record))
        return 0
    shown = table("network", "M MACs", "M params", "search-validation", "test", "architecture")
    for subnet in subnets:
        shown.add_row(
            subnet.role,
            f"{subnet.macs / 1e6:.2f}",
            f"{subnet.params / 1e6:.3f}",
            f"{subnet.validation_accuracy:.2%}",
            f"{subnet.test_accuracy:.2%} ± {subnet.test_error:.2%}",
            subnet.architecture,
        )
    output.print(shown)
    output.print(f"table   {written}", soft_wrap=True)
    remarks.print(
        f"{len(trained.data.test):,} test images, which no search has used. Do not choose a network by this table: its "
        "test accuracy would then be too optimistic. nas search chooses by search-validation."
    )
    return 0
