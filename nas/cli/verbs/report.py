"""`nas report`: the report of a finished search, or of several together, written again."""

import shlex
from pathlib import Path

from latency_tables.writable import check_writable
from nas.cli.call import Call
from nas.cli.config import SETTINGS, ReportConfig
from nas.cli.console import output
from nas.pipeline.settings import SETTINGS_FILE, read_settings
from nas.report.html import write_report
from nas.report.overview import SUMMARY, Entry, labels, read_overview, run_record, write_overview_page
from nas.search.record import FILE


def run(config: ReportConfig, call: Call) -> int:
    """Write report.html and pareto.png into the run's folder."""
    source = Path(config.run)
    check_writable(source, "the report would lie there; copy the folder")
    summed_up = (source / SUMMARY).is_file()
    runs = read_overview(source)[1] if summed_up else _runs_of_sweep(source)
    if not runs:
        output.print(f"report   {write_report(source)}", soft_wrap=True)
        return 0
    for entry in runs:
        if "exports" in (run_record(source, entry) or {}):
            output.print(f"report   {write_report(source / entry.folder)}", soft_wrap=True)
    output.print(f"report   {write_overview_page(source, None if summed_up else runs)}", soft_wrap=True)
    return 0


def _runs_of_sweep(folder: Path) -> list[Entry]:
    """The numbered runs in the folder of a sweep whose launcher was ended before all of them were."""
    found = [path for path in folder.glob("*") if path.name.isdecimal() and (path / SETTINGS_FILE).is_file()]
    runs = sorted((path for path in found if not path.is_symlink()), key=lambda path: int(path.name))
    if (folder / FILE).is_file() or not runs:
        return []
    told = [shlex.split(read_settings(path, "search", SETTINGS["search"]).command)[2:] for path in runs]
    return [
        Entry(
            label or path.name,
            path.name,
            "" if (path / FILE).is_file() else f"no result; to go on: nas search --resume {path}",
        )
        for label, path in zip(labels(told), runs, strict=True)
    ]
