"""The figures of a chosen network as a table in the terminal."""

from collections.abc import Mapping
from typing import Any

from nas.cli.console import output, table
from nas.search.budget import METRICS
from nas.search.latency import Latency, latencies_of


def show_figures(record: Mapping[str, Any]) -> None:
    """Predicted and measured accuracy and latency, and the costs, each beside its limit; `record` as in result.json."""
    shown = table(f"chosen network ({record['status']})", "predicted", "measured", "budget")
    predicted, measured = record["predicted"], record["measured"]
    shown.add_row(
        "accuracy, search-validation",
        f"{predicted['accuracy']:.2%} ± {predicted['accuracy_std']:.2%}",
        "" if measured["accuracy"] is None else f"{measured['accuracy']:.2%}",
        "",
    )
    limits = {(limit["key"], limit["device"]): limit["limit"] for limit in record["budgets"]}
    latencies = latencies_of(predicted)
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
            limit = limits.get((metric.key, latency.device))
            shown.add_row(metric.title + latency.on_device, *cells, "" if limit is None else metric.format(limit))
    output.print(shown)
    for latency in latencies:
        chance = predicted[latency.column("chance")]
        if chance is not None and measured[latency.column()] is None:
            output.print(
                f"latency{latency.on_device} is predicted, not measured: the budget holds with {chance:.0%} probability"
            )
