"""The figures of a chosen network as a table in the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.cli.console import output, table
from nas.report.words import accuracy_name, accuracy_on_test, limit_amount, percent, probability
from nas.search.budget import METRICS
from nas.search.latency import Latency, latencies_of
from nas.training.duration import show_duration

_VERDICT = {
    "met": "budget met when measured",
    "predicted": "predicted, not measured",
    "missed": "budget missed when measured",
}


def show_figures(record: Mapping[str, Any]) -> None:
    """Predicted and measured accuracy and latency, and the costs, each beside its limit; `record` as in result.json."""
    predicted, measured = record["predicted"], record["measured"]
    latencies = latencies_of(predicted)
    verdict = _VERDICT[record["status"]] if record["budgets"] else "no budget"
    known = [measured[latency.column()] for latency in latencies]
    if record["budgets"] and record["status"] == "predicted" and known and None not in known:
        verdict = "measured before, not proved"  # by the search that this answer is from
    shown = table(f"chosen network: {verdict}", "predicted", "measured", "budget")
    shown.add_row(
        f"{accuracy_name(record)}, search-validation",
        f"{predicted['accuracy']:.2%} ± {predicted['accuracy_std']:.2%}",
        "" if measured["accuracy"] is None else f"{measured['accuracy']:.2%}",
        "",
    )
    limits = {(limit["key"], limit["device"]): limit_amount(limit) for limit in record["budgets"]}
    for metric in METRICS:
        for latency in latencies if metric.flag == "latency" else [Latency()]:
            cells = ("", metric.format(record["costs"].get(metric.key, 0)))
            if metric.flag == "latency":
                mean, std, known = (
                    predicted[latency.column()],
                    predicted[latency.column("latency_std_ms")],
                    measured[latency.column()],
                )
                cells = (f"{mean:.3f} ± {std:.3f} ms", "" if known is None else f"{known:.3f} ms")
            shown.add_row(metric.title + latency.on_device, *cells, limits.get((metric.key, latency.device), ""))
    output.print(shown)
    for latency in latencies:
        chance = predicted[latency.column("chance")]
        if chance is not None and measured[latency.column()] is None:
            output.print(
                f"latency{latency.on_device} is predicted, not measured: the budget holds with {probability(chance)} "
                "probability"
            )


def show_facts(record: Mapping[str, Any], folder: Path) -> None:
    """Test accuracy with its standard error, input size, images by split, total time and run folder."""
    if (shown := accuracy_on_test(record)) is not None:
        balanced = (
            f", balanced accuracy {percent(record['test_balanced_accuracy'])}"
            if "test_balanced_accuracy" in record
            else ""
        )
        output.print(f"test accuracy {shown} (standard error, {record.get('test_images', 0):,} images){balanced}")
    facts = []
    if side := record.get("resolution"):
        facts.append(f"input {side} × {side} pixels")
    if record.get("labelled", True) and (images := record.get("images")):
        facts.append("images " + ", ".join(f"{n:,} {split}" for split, n in images.items()))
    if (seconds := record.get("seconds")) is not None:
        facts.append(f"total time {show_duration(seconds)}")
    if facts:
        output.print("; ".join(facts), soft_wrap=True)
    output.print(f"run folder {folder}", soft_wrap=True, markup=False)
