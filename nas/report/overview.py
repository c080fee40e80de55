"""Several searches side by side: the devices of a fleet, or the runs of a sweep, on one page that links them.

A folder that holds such runs has a ``summary.json`` (what each is called, where it lies, why it failed) and a
``report.html``. Everything else is read from the runs' own records. Accuracies are shown in percent, latencies in
milliseconds.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from latency_tables.files import InnerPath, inner_path, read_json, write_text
from nas.report.page import Cell, Command, Link, Page, Section, Table
from nas.report.words import UNKNOWN, accuracy_name, accuracy_on_test, percent
from nas.search.latency import latencies_of
from nas.search.record import FILE, SearchRecord, read_record

SUMMARY = "summary.json"
HEAD = (
    "accuracy,\npredicted",
    "evaluated",
    "on test",
    "latency,\npredicted (ms)",
    "measured (ms)",
    "limit (ms)",
    "verdict",
)


@dataclass(frozen=True)
class Entry:
    """One of several searches.

    Attributes
    ----------
    label : what sets it apart: its device, or the values swept over.
    folder : of its run, inside the folder of all.
    failure : why it has no network, or why that does not keep the budget; empty where all is well.

    Raises
    ------
    ValueError : `folder` leads elsewhere.
    """

    label: str
    folder: InnerPath
    failure: str = ""

    def __post_init__(self) -> None:
        inner_path(self.folder)


@dataclass(frozen=True)
class _Summary:
    """``summary.json``."""

    command: str
    runs: list[Entry]


def write_overview(folder: Path, entries: Sequence[Entry], command: str = "") -> Path:
    """Write ``summary.json`` and ``report.html`` into the folder of all runs; the page's path."""
    document = {"command": command, "runs": [asdict(entry) for entry in entries]}
    write_text(folder / SUMMARY, json.dumps(document, indent=2) + "\n")
    return write_overview_page(folder)


def write_overview_page(folder: Path, runs: Sequence[Entry] | None = None) -> Path:
    """Write ``report.html`` again, from ``summary.json`` and the runs; the page's path.

    Parameters
    ----------
    runs : where there is no summary.

    Raises
    ------
    ValueError : `folder` holds no summary, and `runs` are not given.
    """
    command, entries = read_overview(folder) if runs is None else ("", list(runs))
    records = [run_record(folder, entry) for entry in entries]
    pairs = list(zip(records, entries, strict=True))
    found = sum(record is not None and record["status"] != "missed" and not entry.failure for record, entry in pairs)
    rows: list[list[Cell | str]] = []
    networks: list[list[Cell | str]] = []
    for entry, record in zip(entries, records, strict=True):
        if record is None:
            rows.append([entry.label, *[""] * (len(HEAD) - 1), Cell(entry.failure, "no"), ""])
            continue
        exports = record.get("exports", [])
        name = Cell(links=[Link(entry.label, f"{entry.folder}/report.html")]) if exports else Cell(entry.label)
        kept = {"met": "yes", "missed": "no"}.get(record["status"], "predicted")
        *cells, verdict = row(record)
        files = [Link(export["file"], f"{entry.folder}/{export['file']}") for export in exports]
        rows.append([name, *cells, Cell(verdict, kept), Cell(links=files)])
        networks.append([entry.label, Cell(record["architecture"], "code")])
    said = [[", ".join(labels), sentence] for sentence, labels in sentences(entries, records).items()]
    sections = [
        Section("Side by side", [Table(["", *HEAD, "files"], rows, numbers=set(range(1, len(HEAD))))]),
        Section("What is to be known of them", [Table([], said)] if said else []),
        Section("The networks", [Table([], networks)] if networks else []),
        Section("How to repeat this", [Command(command)] if command else []),
    ]
    page = Page(
        title=f"nas search: {len(entries)} runs",
        status="met" if found == len(entries) else "missed",
        badge=f"{found} of {len(entries)} have a network",
        headline=", ".join(entry.label for entry in entries),
        sublines=["Each row leads to a report of its own."],
        sections=sections,
    )
    path = folder / "report.html"
    write_text(path, page.render())
    return path


def read_overview(folder: Path) -> tuple[str, list[Entry]]:
    """The command and the entries of ``summary.json``.

    Raises
    ------
    ValueError : there is none, it is damaged, or it names a folder outside of `folder`.
    """
    summary = read_json(folder / SUMMARY, _Summary)
    for entry in summary.runs:
        # A link inside of the folder may still lead out of it.
        if not (folder / entry.folder).resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{folder / SUMMARY}: {entry.folder} is not inside of {folder}")
    return summary.command, summary.runs


def labels(told: Sequence[Sequence[str]]) -> list[str]:
    """What sets each run of a sweep apart: the settings that it was told and not all of them were."""
    common = set.intersection(*map(set, told))
    own = [[word for word in words if word not in common] for words in told]
    return [" ".join(word.removeprefix("budget.").replace("'", "") for word in words) for words in own]


def run_record(folder: Path, entry: Entry) -> SearchRecord | None:
    """``result.json`` of one of the runs, None where it found nothing.

    Raises
    ------
    ValueError : it is damaged.
    """
    return read_record(folder / entry.folder) if (folder / entry.folder / FILE).exists() else None


def sentences(entries: Sequence[Entry], records: Sequence[SearchRecord | None]) -> dict[str, list[str]]:
    """What is to be known of the runs besides their figures: each sentence, with the labels of the runs it is of."""
    said: dict[str, list[str]] = {}
    for entry, record in zip(entries, records, strict=True):
        if record is None:
            continue
        verdict = (record.get("baselines") or {}).get("verdict")
        for sentence in [*([verdict] if verdict else []), *record.get("notes", [])]:
            said.setdefault(sentence, []).append(entry.label)
    return said


def row(record: SearchRecord) -> list[str]:
    """The cells under `HEAD` of one search, of several devices one line each."""
    predicted, measured = record["predicted"], record["measured"]
    limits = {b["device"]: b["limit"] for b in record["budgets"] if b["key"] == "latency_ms"}
    latencies: list[list[str]] = []
    for latency in latencies_of(predicted):
        name, limit = latency.device, limits.get(latency.device)
        spread = _number(predicted[latency.column("latency_std_ms")], "{:.2g}")
        mean = _number(predicted[latency.column()])
        latencies.append(
            [
                f"{name} {mean} ± {spread}".strip() if mean else "",
                _number(measured[latency.column()]),
                _number(limit),
            ]
        )
    objective = record.get("objective", "accuracy")
    figures = [
        percent(predicted["accuracy"], predicted["accuracy_std"]),
        percent(measured["accuracy"]),
        accuracy_on_test(record, by=objective) or UNKNOWN,
    ]
    # Runs of a sweep may differ in it, so the head cannot say it.
    named = "" if objective == "accuracy" else f"\n{accuracy_name(record)}"
    return [
        *("" if figure == UNKNOWN else figure + named for figure in figures),
        *(["\n".join(column) for column in zip(*latencies, strict=True)] or [""] * 3),
        record["status"],
    ]


def _number(value: float | None, form: str = "{:.3g}") -> str:
    return "" if value is None else form.format(value)
