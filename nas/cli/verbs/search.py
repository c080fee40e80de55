"""`nas search`: from images and a budget to an exported network."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.cli.call import Call
from nas.cli.config import SearchConfig
from nas.cli.console import output, remarks, table, track
from nas.cli.figures import show_facts, show_figures
from nas.cli.job import Ended
from nas.cli.outcome import outcome
from nas.pipeline.at_hand import AUTO
from nas.pipeline.fleet import search_fleet
from nas.pipeline.precisions import search_precisions
from nas.pipeline.search import search
from nas.progress import Listener
from nas.report.baselines import HEAD as HEAD_OF_BASELINES
from nas.report.baselines import baseline_rows
from nas.report.overview import HEAD, Entry, labels, row, run_record, sentences, write_overview
from nas.report.words import accuracy_name
from nas.search.result import SearchResult


def run(config: SearchConfig, call: Call) -> int:
    """Search into the run folder, show the answer and where it lies."""
    listener = Listener(say=remarks.print, track=track)
    if "," in config.device and not config.shared and config.precision != AUTO:
        return _fleet(config, call, listener)
    find = search_precisions if config.precision == AUTO else search
    result = find(config, call.folder, listener, call.command)
    if config.json:
        print(json.dumps(result.to_dict() | {"folder": str(call.folder)}))
    else:
        _show(result, call.folder, config.usual_start)
    return _judge_files(result)


def show_sweep(ended: Sequence[Ended], typed_as: str, *, quiet: bool = False) -> None:
    """What came of the runs of a sweep, in one table and one page beside them."""
    folder = Path(os.path.commonpath([job.folder for job in ended]))
    names = labels([job.overrides for job in ended])
    entries = [
        Entry(label, os.path.relpath(job.folder, folder), job.sentence) for label, job in zip(names, ended, strict=True)
    ]
    _show_overview(folder, entries, typed_as, quiet=quiet)


def _fleet(config: SearchConfig, call: Call, listener: Listener) -> int:
    folder = call.folder
    outcomes = search_fleet(config, folder, listener, call.command)
    errors = {each.device: outcome(each.error) for each in outcomes if each.error is not None}
    entries = [Entry(each.device, each.folder.name, errors.get(each.device, (0, ""))[1]) for each in outcomes]
    if config.json:
        records = [
            {"device": entry.label, "folder": str(folder / entry.folder), "failure": entry.failure}
            | (run_record(folder, entry) or {})
            for entry in entries
        ]
        print(json.dumps({"folder": str(folder), "devices": records}))
    if any(each.result is not None for each in outcomes):
        _show_overview(folder, entries, call.command, quiet=config.json)
        if not config.json:
            _show_remarks(folder, entries)
    codes = [code for code, _ in errors.values()]
    codes += [_judge_files(each.result) for each in outcomes if each.result is not None]
    if errors:
        why = "; ".join(f"{name}: {sentence}" for name, (_, sentence) in errors.items())
        remarks.print(f"nas search: no network keeps its budget on {len(errors)} of {len(outcomes)} devices: {why}")
    return max(codes, default=0)


def _judge_files(result: SearchResult) -> int:
    """1 if an int8 file lost too much accuracy, which is said."""
    from nas.export.checked import rejections  # imports torch, which a refused search does without

    rejected = rejections(result.about["exports"])
    for sentence in rejected:
        remarks.print(f"nas search: {sentence}")
    return 1 if rejected else 0


def _show_overview(folder: Path, entries: Sequence[Entry], typed_as: str, *, quiet: bool = False) -> None:
    page = write_overview(folder, entries, typed_as)
    if quiet:
        return
    shown = table("", *HEAD, words=("network", "file"))
    for entry in entries:
        record = run_record(folder, entry)
        if record is None:
            shown.add_row(entry.label, "none", "", *[""] * (len(HEAD) - 1), "none")
            continue
        files = "\n".join(f"{entry.folder}/{export['file']}" for export in record.get("exports", []))
        shown.add_row(entry.label, record["architecture"], files, *row(record))
    output.print(shown)
    output.print(f"report   {page}", soft_wrap=True)


def _show_remarks(folder: Path, entries: Sequence[Entry]) -> None:
    """What a search for one device says below its figures."""
    records = [run_record(folder, entry) for entry in entries]
    for sentence, devices in sentences(entries, records).items():
        output.print(f"{', '.join(devices)}: {sentence}", soft_wrap=True, markup=False)
    for entry, record in zip(entries, records, strict=True):
        for file in _baseline_files(record or {}):
            output.print(f"{entry.label}: baseline {folder / entry.folder / file}", soft_wrap=True, markup=False)


def _baseline_files(record: Mapping[str, Any]) -> Iterable[str]:
    """Those of a baseline that is the better choice."""
    files: Mapping[str, str] = (record.get("baselines") or {}).get("files", {})
    return files.values()


def _show(result: SearchResult, folder: Path, told: str = "") -> None:
    """Show what was found; not again what was `told` at the start."""
    record = result.to_dict()
    for found in result.about.get("precisions", ()):
        if "reason" in found:
            said = found["reason"]
        else:
            latency = "not measured" if found["latency_ms"] is None else f"{found['latency_ms']:.3g} ms"
            said = f"{accuracy_name(record)} {found['accuracy']:.2%} on search-validation, {latency}, "
            said += f"{found['bytes']:,} bytes"
            said += ("" if found["accepted"] else ", rejected") + (" (chosen)" if found["chosen"] else "")
        output.print(f"best in {found['precision']}: {said}", soft_wrap=True)
    show_figures(record)
    output.print(f"architecture {result.architecture}")
    show_facts(record, folder)
    baselines = record.get("baselines") or {}
    if baselines.get("networks"):
        shown = table(HEAD_OF_BASELINES[0], *HEAD_OF_BASELINES[1:])
        for cells in baseline_rows(record):
            shown.add_row(*cells)
        output.print(shown)
    if "verdict" in baselines:
        output.print(baselines["verdict"], soft_wrap=True, markup=False)
    for file in _baseline_files(record):
        output.print(f"baseline {folder / file}", soft_wrap=True)
    for note in result.about["notes"]:
        if note == told:
            continue
        output.print(note, soft_wrap=True, markup=False)
    for file in result.about["exports"]:
        output.print(f"network  {folder / file['file']}", soft_wrap=True)
    output.print(f"report   {folder / 'report.html'}", soft_wrap=True)
