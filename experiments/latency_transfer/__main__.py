"""The whole study: ``python -m experiments.latency_transfer`` (from the repository's root).

Writes the tables and the figure under ``results/`` and prints the machine, versions and seeds. The public
latency tables must be at hand; see ``data.py``.
"""

import os

# One thread, for the times that are stated; before NumPy is imported.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from experiments.conditions import machine, write_facts  # noqa: E402
from experiments.latency_transfer import report, speed  # noqa: E402
from experiments.latency_transfer.data import SPLITS  # noqa: E402
from experiments.latency_transfer.run import transfer  # noqa: E402


def main() -> int:
    """Run everything; the exit code is 2 where the data is not at hand."""
    parser = argparse.ArgumentParser(prog="python -m experiments.latency_transfer", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="pools of candidates to choose from (default 3)")
    parser.add_argument("--counts", type=int, nargs="+", default=[3, 5, 10, 15, 20], help="networks to measure")
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    conditions = {
        **machine("numpy", "scipy", "pandas"),
        "threads": 1,
        "seeds": list(range(arguments.seeds)),
    }
    print(json.dumps(conditions, indent=1))
    try:
        rows = transfer(arguments.splits, sorted(arguments.counts), arguments.seeds)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    report.save_table(arguments.out / "runs.csv", rows.round(5))
    report.save_table(arguments.out / "summary.csv", report.summary(rows))
    report.save_table(arguments.out / "measured_only.csv", report.measured_only(rows))
    report.save_table(arguments.out / "against_alone.csv", report.against_alone(rows))
    report.save_table(arguments.out / "devices.csv", report.by_device(rows))
    report.figure(arguments.out / "error_against_measurements.png", rows)
    conditions["speed"] = speed.times()
    write_facts(arguments.out / "conditions.json", conditions)
    print(report.summary(rows).to_string(index=False))
    print(json.dumps(conditions["speed"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
