"""`nas report`: the report of a finished search, written again."""

from pathlib import Path

from nas.cli.config import ReportConfig
from nas.cli.console import output
from nas.report.html import write_report


def run(config: ReportConfig, folder: Path) -> int:
    """Write report.html and pareto.png into the run's folder."""
    output.print(f"report   {write_report(Path(config.run))}", soft_wrap=True)
    return 0
