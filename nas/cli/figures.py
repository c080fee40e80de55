"""The figures of a chosen network as a table in the terminal."""

from collections.abc import Mapping
from typing import Any

from nas.cli.console import output, table
from nas.search.budget import METRICS, on_device


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
    devices = [key.partition("@")[2] for key in predicted if key.startswith("latency_ms")]
    for metric in METRICS:
        for name in devices if metric.flag == "latency" else [""]:
            cells = ("", metric.format(record["costs"].get(metric.key, 0)))
            if metric.flag == "latency":
                mean, std, known = (
                    predicted[on_device("latency_ms", name)],
                    predicted[on_device("latency_std_ms", name)],
                    measured[on_device("latency_ms", name)],
                )
                cells = (f"{mean:.3f} ± {std:.3f} ms", "" if known is None else f"{known:.3f} ms")
            limit = limits.get((metric.key, name))
            title = f"{metric.title} on {name}" if name else metric.title
            shown.add_row(title, *cells, "" if limit is None else metric.format(limit))
    output.print(shown)
    for name in devices:
        chance = predicted[on_device("chance", name)]
        if chance is not None and measured[on_device("latency_ms", name)] is None:
            where = f" on {name}" if name else ""
            output.print(f"latency{where} is predicted, not measured: the budget holds with {chance:.0%} probability")
