"""`nas search`: the whole road, from images and a budget to an exported network."""

import json
from pathlib import Path

from nas.cli.app import command, typed
from nas.cli.config import SearchConfig
from nas.cli.console import output, remarks, table, track
from nas.listener import Listener
from nas.precisions import AUTO, search_precisions
from nas.search.budget import METRICS
from nas.search.result import SearchResult
from nas.workflow import search


def run(config: SearchConfig, folder: Path) -> int:
    """Search into the run folder, show the answer and where it lies."""
    if config.supernet is not None and not typed("data"):
        config.data = {}  # those that it was trained on
    find = search_precisions if config.precision == AUTO else search
    result = find(config, folder, Listener(say=remarks.print, track=track), command())
    if config.json:
        print(json.dumps(result.to_dict() | {"folder": str(folder)}))
    else:
        _show(result, folder)
    from nas.export.checked import rejections  # imports torch, which a refused search does without

    rejected = rejections(result.about["exports"])
    for sentence in rejected:
        remarks.print(f"nas search: {sentence}")
    return 1 if rejected else 0


def _show(result: SearchResult, folder: Path) -> None:
    for found in result.about.get("precisions", ()):
        if "reason" in found:
            said = found["reason"]
        else:
            latency = "not measured" if found["latency_ms"] is None else f"{found['latency_ms']:.3g} ms"
            said = f"{found['accuracy']:.2%} on search-validation, {latency}, {found['bytes']:,} bytes"
            said += ("" if found["accepted"] else ", rejected") + (" (chosen)" if found["chosen"] else "")
        output.print(f"best in {found['precision']}: {said}", soft_wrap=True)
    shown = table(f"chosen network ({result.status})", "predicted", "measured", "budget")
    predicted, measured = result.predicted, result.measured
    shown.add_row(
        "accuracy, search-validation",
        f"{predicted['accuracy']:.2%} ± {predicted['accuracy_std']:.2%}",
        "" if measured["accuracy"] is None else f"{measured['accuracy']:.2%}",
        "",
    )
    limits = {(record["key"], record["device"]): record["limit"] for record in result.budgets}
    for metric in METRICS:
        on = result.devices if metric.key == "latency_ms" else [""]
        for name in on:
            if metric.key == "latency_ms":
                at = f"@{name}" if name else ""
                cells = (
                    f"{predicted[f'latency_ms{at}']:.3f} ± {predicted[f'latency_std_ms{at}']:.3f} ms",
                    "" if measured[f"latency_ms{at}"] is None else f"{measured[f'latency_ms{at}']:.3f} ms",
                )
            else:
                cells = ("", metric.format(result.costs[metric.key]))
            limit = limits.get((metric.key, name))
            title = f"{metric.title} on {name}" if name else metric.title
            shown.add_row(title, *cells, "" if limit is None else metric.format(limit))
    output.print(shown)
    for name in result.devices:
        at = f"@{name}" if name else ""
        if (chance := predicted[f"chance{at}"]) is not None and measured[f"latency_ms{at}"] is None:
            where = f" on {name}" if name else ""
            output.print(f"latency{where} is predicted, not measured: the budget holds with {chance:.0%} probability")
    output.print(f"test accuracy {result.about['test_accuracy']:.2%}   architecture {result.architecture}")
    for file in result.about["exports"]:
        output.print(f"network  {folder / file['file']}", soft_wrap=True)
    output.print(f"report   {folder / 'report.html'}", soft_wrap=True)
