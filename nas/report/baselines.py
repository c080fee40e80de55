"""The baselines of a search as table rows: what a user would have taken otherwise, beside the chosen network."""

import math
from collections.abc import Mapping
from typing import Any

from nas.report.page import Block, Folded, Paragraph, Section, Table
from nas.report.run_folder import SearchRun
from nas.report.words import percent

HEAD = ("network", "search-validation", "test", "latency (p10 to p90)", "M MACs", "keeps the budget")


def baseline_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """One row a network, the chosen one first; cells as in `HEAD`."""
    found = record["baselines"]
    judged_by = f"test_{record.get('objective') or 'accuracy'}"
    chosen = {
        "name": "chosen network",
        "resolution": record["resolution"],
        "accuracy": record["measured"]["accuracy"],
        "test_accuracy": record.get(judged_by, record["test_accuracy"]),
        "test_error": record.get(f"{judged_by}_error", record["test_accuracy_error"]),
        "macs": record["costs"]["macs"],
        "keeps_budget": all(budget["met"] for budget in record["budgets"]),
        **found["chosen"],
    }
    limits = [budget["limit"] for budget in record["budgets"] if budget["key"] == "latency_ms"]
    limit_ms = min(limits, default=math.inf)
    return [_row(network, limit_ms) for network in (chosen, *found["networks"])]


def _row(network: Mapping[str, Any], limit_ms: float) -> list[str]:
    kept = "yes" if network["keeps_budget"] else "no"
    timed = "not measured"
    if network["latency_ms"] is not None:
        timed = f"{network['latency_ms']:.3g} ms ({network['p10_ms']:.3g} to {network['p90_ms']:.3g})"
        over = network["latency_ms"] / limit_ms - 1
        if network["keeps_budget"] and over > 0:
            kept = f"{100 * over:.1f} % over"
    return [
        f"{network['name']}, {network['resolution']} px",
        percent(network["accuracy"]),
        percent(network["test_accuracy"], network["test_error"]),
        timed,
        f"{network['macs'] / 1e6:.0f}",
        kept,
    ]


def baseline_section(run: SearchRun) -> Section:
    """The table of baselines and the verdict, or the verdict alone; without blocks where nothing was compared."""
    found = run.record.get("baselines") or {}
    title = "Compared with what one would have taken otherwise"
    if not found.get("networks"):  # the verdict says why
        return Section(title, [Paragraph(found["verdict"])] if "verdict" in found else [])
    rows = [list(row) for row in baseline_rows(run.record)]
    table = Table(HEAD, rows, numbers=set(range(1, len(HEAD) - 1)), chosen={0})
    explanation = (
        "Each baseline was fine-tuned on the same images by the same recipe, at the largest resolution at which it "
        "keeps the budget, and measured in one session together with the chosen network. One that is then over it by "
        "at most 5 % is compared all the same, since sessions differ by as much. Search-validation decides; the test "
        "split is for this comparison only. The chosen network is the best of many on search-validation, which "
        "flatters its accuracy there a little."
    )
    blocks: list[Block | Folded] = [Paragraph(found["verdict"]), table, Paragraph(explanation)]
    return Section(title, blocks)
