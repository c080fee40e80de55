"""The long form of tests/robustness: ``python -m experiments.robustness`` (from the repository's root, as root).

Kills, malformed files, workers that share a database, a full disk; writes ``results/table.md`` and, of whatever went
wrong, ``results/failures.txt``. Everything happens in a temporary folder. As root because a small file system is
mounted; without, that part is left out.
"""

import argparse
import platform
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from experiments.robustness.disks import full
from experiments.robustness.inputs import malformed
from experiments.robustness.kills import killed
from experiments.robustness.tiny import Trial, make_home
from experiments.robustness.workers import shared
from latency_tables.files import write_text

RESULTS = Path(__file__).parent / "results"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--inputs", type=int, default=1_000)
    parser.add_argument("--worker-kills", type=int, default=20, help="of two of three workers, for each database")
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args(argv)
    rng, began = random.Random(told.seed), time.monotonic()
    trials: list[Trial] = []
    with tempfile.TemporaryDirectory() as place:
        home, work = Path(place) / "home", Path(place) / "work"
        home.mkdir()
        work.mkdir()
        make_home(home)
        for part, n in (
            (killed, told.kills),
            (malformed, told.inputs),
            (full, told.disks),
            (shared, told.worker_kills),
        ):
            for trial in part(home, work, n, rng) if n else ():
                trials.append(trial)
                if not trial.well or trial.same is False or trial.left:
                    print(trial, flush=True)
                # After each: a study that is stopped has said what it found.
                write(trials, told, time.monotonic() - began)
    print((RESULTS / "table.md").read_text(encoding="utf-8"))


def write(trials: Sequence[Trial], told: argparse.Namespace, seconds: float) -> None:
    lines = ["| | tried | answered well | identical result | something left behind |", "|---|---|---|---|---|"]
    for kind in dict.fromkeys(trial.kind for trial in trials):
        of_kind = [trial for trial in trials if trial.kind == kind]
        judged = [trial.same for trial in of_kind if trial.same is not None]
        same = f"{sum(judged)} of {len(judged)}" if judged else ""
        well, left = sum(trial.well for trial in of_kind), sum(bool(trial.left) for trial in of_kind)
        lines.append(f"| {kind} | {len(of_kind)} | {well} | {same} | {left} |")
    asked = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in vars(told).items())
    lines += ["", f"Asked for: {asked}. {date.today()}, {seconds / 60:.0f} minutes, {platform.platform()}."]
    write_text(RESULTS / "table.md", "\n".join(lines) + "\n")
    wrong = [trial for trial in trials if not trial.well or trial.same is False or trial.left]
    write_text(RESULTS / "failures.txt", "".join(f"{trial}\n" for trial in wrong))


if __name__ == "__main__":
    main()
