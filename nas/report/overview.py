"""Several searches side by side: the devices of a fleet, or the runs of a sweep, on one page that links them.

A folder that holds such runs has a ``summary.json`` (what each is called, where it lies, why it failed) and a
``report.html``. Everything else is read from the runs' own records. Accuracies are shown in percent, latencies in
milliseconds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from latency_tables.files import write_text
from nas.report.page import fill_page, html_section, html_table
from nas.search.latency import latencies_of

SUMMARY = "summary.json"
HEAD = (
    "accuracy,\npredicted",
    "evaluated",
    "on test",
    "latency,\npredicted (ms)",
    "measured (ms)",
    "at most (ms)",
    "verdict",
)


@dataclass(frozen=True)
class Entry:
    """One of several searches.

    Attributes
    ----------
    label : what sets it apart: its device, or the values swept over.
    folder : of its run, relative to the folder of all.
    failure : why it has no network, or why that does not keep the budget; empty where all is well.
    """

    label: str
    folder: str
    failure: str = ""


def write_overview(folder: Path, entries: Sequence[Entry], command: str = "") -> Path:
    """Write ``summary.json`` and ``report.html`` into the folder of all runs; the page's path."""
    document = {"command": command, "runs": [asdict(entry) for entry in entries]}
    write_text(folder / SUMMARY, json.dumps(document, indent=2) + "\n")
    return write_overview_page(folder)


def write_overview_page(folder: Path) -> Path:
    """Write ``report.html`` again, from ``summary.json`` and the runs.

    Raises
    ------
    ValueError : `folder` holds no summary.
    """
    command, entries = read_overview(folder)
    records = [run_record(folder, entry) for entry in entries]
    found = sum(record is not None and not entry.failure for record, entry in zip(records, entries, strict=True))
    rows = []
    for entry, record in zip(entries, records, strict=True):
        name = escape(entry.label)
        if record is None:
            rows.append([name, *[""] * (len(HEAD) - 1), f'<span class="no">{escape(entry.failure)}</span>', ""])
            continue
        link = f'<a href="{escape(entry.folder)}/report.html">{name}</a>' if "exports" in record else name
        cells = [escape(cell).replace("\n", "<br>") for cell in row(record)]
        kept = {"met": "yes", "missed": "no"}.get(record["status"], "predicted")
        cells[-1] = f'<span class="{kept}">{cells[-1]}</span>'
        files = "<br>".join(
            f'<a href="{escape(entry.folder)}/{escape(export["file"])}">{escape(export["file"])}</a>'
            for export in record.get("exports", [])
        )
        rows.append([link, *cells, files])
    heads = ["", *(name.replace("\n", "<br>") for name in HEAD), "files"]
    networks = [
        [escape(entry.label), f"<code>{escape(record['architecture'])}</code>"]
        for entry, record in zip(entries, records, strict=True)
        if record is not None
    ]
    sections = [
        html_section("Side by side", html_table(heads, rows, numbers=set(range(1, len(HEAD))))),
        html_section("The networks", html_table([], networks)) if networks else "",
        html_section("How to get this again", f"<pre>{escape(command)}</pre>") if command else "",
    ]
    page = folder / "report.html"
    text = fill_page(
        title=f"nas search: {len(entries)} runs",
        status="met" if found == len(entries) else "missed",
        badge=f"{found} of {len(entries)} have their network",
        headline=", ".join(entry.label for entry in entries),
        subline="Each row leads to a report of its own.",
        sections=sections,
    )
    write_text(page, text)
    return page


def read_overview(folder: Path) -> tuple[str, list[Entry]]:
    """The command and the entries of ``summary.json``.

    Raises
    ------
    ValueError : there is none, or it is damaged.
    """
    try:
        document = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return str(document["command"]), [Entry(**entry) for entry in document["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} holds no summary of several searches: {error}") from error


def run_record(folder: Path, entry: Entry) -> dict[str, Any] | None:
    """``result.json`` of one of the runs, None where it found nothing."""
    path = folder / entry.folder / "result.json"
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def row(record: Mapping[str, Any]) -> list[str]:
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
    return [
        f"{predicted['accuracy']:.2%} ± {predicted['accuracy_std']:.2%}",
        _number(measured["accuracy"], "{:.2%}"),
        _number(record.get("test_accuracy"), "{:.2%}"),
        *("\n".join(column) for column in zip(*latencies, strict=True)),
        record["status"],
    ]


def _number(value: float | None, form: str = "{:.3g}") -> str:
    return "" if value is None else form.format(value)
