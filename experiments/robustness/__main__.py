"""The long form of tests/robustness, in the repository's root, as root: ``python -m experiments.robustness [PART...]``.

Each part goes on where it was stopped: its trials are kept one a line in ``results/trials/PART.jsonl``.
``results/table.md`` and, of whatever went wrong, ``results/failures.txt`` are written from all that is there.
"""

import argparse
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from itertools import count
from pathlib import Path

from experiments.robustness.disks import full
from experiments.robustness.forked import warm
from experiments.robustness.inputs import malformed
from experiments.robustness.interrupts import interrupted
from experiments.robustness.kills import killed, killed_at_steps
from experiments.robustness.tiny import Trial, make_home
from experiments.robustness.workers import on_postgresql, on_sqlite
from latency_tables.files import write_text

RESULTS = Path(__file__).parent / "results"
Part = Callable[[Path, Path, Iterator[int], str], Iterator[tuple[int, Trial]]]
PARTS: dict[str, tuple[Part, int | None]] = {
    "postgresql": (on_postgresql, 2),
    "sqlite": (on_sqlite, 2),
    "disks": (full, 20),
    "steps": (killed_at_steps, None),
    "kills": (killed, 102),
    "interrupts": (interrupted, 36),
    "inputs": (malformed, 1_000),
}
"""Each part with its usual number of trials; None for as many as there are."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--trials", type=int, help="of each part, instead of its usual number")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--results", type=Path, default=RESULTS)
    told = parser.parse_args(argv)
    # The runs that are killed are forks of this process, which sets what their libraries read at import.
    os.environ["OMP_NUM_THREADS"] = "1"
    warm()
    with tempfile.TemporaryDirectory() as place:
        home, work = Path(place) / "home", Path(place) / "work"
        home.mkdir()
        make_home(home)
        for name in told.parts:
            part, usual = PARTS[name]
            work.mkdir()
            run_part(
                part, home, work, told.trials or usual, f"{told.seed} {name}", told.results / f"trials/{name}.jsonl"
            )
            shutil.rmtree(work)
    write(told.results)
    print((told.results / "table.md").read_text(encoding="utf-8"))


def run_part(part: Part, home: Path, work: Path, trials: int | None, seed: str, log: Path) -> None:
    """The trials of a part that are not in its log yet."""
    log.parent.mkdir(parents=True, exist_ok=True)
    done = {json.loads(line)["number"] for line in log.read_text().splitlines()} if log.exists() else set()
    numbers = (number for number in (count() if trials is None else range(trials)) if number not in done)
    for number, trial in part(home, work, numbers, seed):
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"number": number} | asdict(trial) | {"said": trial.said[-1_500:]}) + "\n")


def write(results: Path) -> None:
    """The table of all trials that are there, and those that did not go well."""
    lines = ["| | tried | answered well | identical result | something left behind |", "|---|---|---|---|---|"]
    trials = []
    for name in PARTS:
        if (log := results / f"trials/{name}.jsonl").exists():
            found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            trials += [Trial(**{key: value for key, value in each.items() if key != "number"}) for each in found]
    for kind in sorted({trial.kind for trial in trials}):
        of_kind = [trial for trial in trials if trial.kind == kind]
        judged = [trial.same for trial in of_kind if trial.same is not None]
        same = f"{sum(judged)} of {len(judged)}" if judged else ""
        well, left = sum(trial.well for trial in of_kind), sum(bool(trial.left) for trial in of_kind)
        lines.append(f"| {kind} | {len(of_kind)} | {well} | {same} | {left} |")
    lines += ["", f"{date.today()}, {os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}."]
    write_text(results / "table.md", "\n".join(lines) + "\n")
    wrong = [trial for trial in trials if not trial.well or trial.same is False or trial.left]
    write_text(results / "failures.txt", "".join(f"{trial}\n" for trial in wrong))


if __name__ == "__main__":
    main()
