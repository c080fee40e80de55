"""`nas report`: the report of a finished search, or of several together, written again."""

from pathlib import Path

from latency_tables.writable import check_writable
from nas.cli.call import Call
from nas.cli.config import ReportConfig
from nas.cli.console import output
from nas.report.html import write_report
from nas.report.overview import SUMMARY, read_overview, run_record, write_overview_page


def run(config: ReportConfig, call: Call) -> int:
    """Write report.html and pareto.png into the run's folder."""
    source = Path(config.run)
    check_writable(source, "the report would lie there; copy the folder")
    if not (source / SUMMARY).is_file():
        output.print(f"report   {write_report(source)}", soft_wrap=True)
        return 0
    for entry in read_overview(source)[1]:
        if "exports" in (run_record(source, entry) or {}):
            output.print(f"report   {write_report(source / entry.folder)}", soft_wrap=True)
    output.print(f"report   {write_overview_page(source)}", soft_wrap=True)
    return 0
