"""`nas search`: the whole road, from images and a budget to an exported network."""

import json
from dataclasses import asdict
from pathlib import Path

from nas.cli.app import command, typed
from nas.cli.config import SearchConfig
from nas.cli.console import output, remarks, table, track
from nas.listener import Listener
from nas.search.budget import METRICS
from nas.search.result import SearchResult
from nas.workflow import SearchRequest, search


def run(config: SearchConfig, folder: Path) -> int:
    """Search into the run folder, show the answer and where it lies."""
    request = SearchRequest(
        budget=asdict(config.budget),
        device=config.device,
        supernet=None if config.supernet is None else Path(config.supernet),
        space=config.space,
        data=config.data,
        recipe=config.recipe,
        moved_data=config.data if config.supernet is not None and typed("data") else None,
        runs=Path(config.runs),
        seed=config.seed,
        threads=config.threads,
        accelerator=config.accelerator,
        confidence=config.confidence,
        samples=config.samples,
        evaluations=config.evaluations,
        candidates=config.candidates,
        finalists=config.finalists,
        rounds=config.rounds,
        format=config.format,
        precision=config.precision,
        max_accuracy_drop=config.max_accuracy_drop,
        batch=config.batch,
        command=command(),
    )
    result = search(request, folder, Listener(say=remarks.print, track=track))
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
    shown = table(f"chosen network ({result.status})", "predicted", "measured", "budget")
    predicted, measured = result.predicted, result.measured
    shown.add_row(
        "accuracy, search-validation",
        f"{predicted['accuracy']:.2%} ± {predicted['accuracy_std']:.2%}",
        "" if measured["accuracy"] is None else f"{measured['accuracy']:.2%}",
        "",
    )
    limits = {record["key"]: record for record in result.budgets}
    for metric in METRICS:
        limit = limits.get(metric.key)
        if metric.key == "latency_ms":
            cells = (
                f"{predicted['latency_ms']:.3f} ± {predicted['latency_std_ms']:.3f} ms",
                "" if measured["latency_ms"] is None else f"{measured['latency_ms']:.3f} ms",
            )
        else:
            cells = ("", metric.format(result.costs[metric.key]))
        shown.add_row(metric.title, *cells, "" if limit is None else metric.format(limit["limit"]))
    output.print(shown)
    output.print(f"test accuracy {result.about['test_accuracy']:.2%}   architecture {result.architecture}")
    for file in result.about["exports"]:
        output.print(f"network  {folder / file['file']}", soft_wrap=True)
    output.print(f"report   {folder / 'report.html'}", soft_wrap=True)
