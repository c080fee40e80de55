"""The whole study: ``python -m experiments.budgets_hold`` (from the repository's root).

Searches eight latency budgets on each of several runtime configurations of this machine, measures every accepted
network again in a fresh process minutes later and once more at the end, and writes ``results/``. A killed study goes
on where it was when started again.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_name] = "1"  # before NumPy is imported: small matrices

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from experiments.budgets_hold import figure  # noqa: E402
from experiments.budgets_hold.task import LEARNT_FROM, PROTOCOL, Configuration, StandIn  # noqa: E402
from experiments.conditions import differing, installed, processor, write_facts  # noqa: E402
from latency_tables.files import write_text  # noqa: E402
from nas.errors import BudgetMissed, InfeasibleBudget  # noqa: E402
from nas.search.budget import Budget  # noqa: E402
from nas.search.evolution.settings import EvolutionSettings  # noqa: E402
from nas.search.feasibility import check_feasibility  # noqa: E402
from nas.search.objectives import Objectives  # noqa: E402
from nas.search.run import SearchSettings, run_search  # noqa: E402
from search_spaces import get_space  # noqa: E402

CONFIGURATIONS = ("cpu", "cpu-litert", "cpu-ncnn", "cpu-int8", "cpu-litert-int8")
SHARES = (0.04, 0.12, 0.25, 0.4, 0.55, 0.7, 0.85, 0.96)
"""Budgets, as shares of the way from the min to the max net's measured latency."""
LATER_S = 300
"""Between a network's acceptance and its first measurement afterwards."""
SETTINGS = SearchSettings(EvolutionSettings(8_000), EvolutionSettings(1_500, parents=50, children=50))


def search(configuration: Configuration, limit_ms: float, folder: Path) -> dict[str, Any]:
    """One budget, from the prior knowledge alone: what came of it, as a record."""
    stand_in, space = StandIn(configuration.space), configuration.space
    (start, latencies), seed = configuration.learnt_from, configuration.seed
    latency = configuration.predictor()

    def refit(population: np.ndarray, latency_ms: np.ndarray) -> None:
        latency.adapt(np.concatenate([start, population]), np.concatenate([latencies, latency_ms]))

    began = time.time()
    record: dict[str, Any] = {"configuration": configuration.name, "limit_ms": limit_ms}
    try:
        objectives = Objectives(space, stand_in.predictor(seed), latency)
        run_search(
            objectives,
            check_feasibility(objectives, Budget.parse(latency=f"{limit_ms!r}ms"), seed),
            seed=seed,
            settings=SETTINGS,
            folder=folder,
            device=configuration.name,
            measure=configuration.measure,
            evaluate=stand_in.evaluate,
            refit=refit,
        )
    except InfeasibleBudget as error:
        return record | {"status": "infeasible", "why": str(error)}
    except BudgetMissed as error:
        record["why"] = str(error)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    measurements = pd.read_csv(folder / "measurements.csv")
    sessions = measurements[measurements["session"] > 0]
    record |= {
        "status": result["status"],
        "architecture": result["architecture"],
        "accuracy": result["measured"]["accuracy"],
        "predicted_ms": result["predicted"]["latency_ms"],
        "measured_ms": result["measured"]["latency_ms"],
        "sessions_ms": " ".join(f"{ms:.5f}" for ms in result["proof"]["sessions_ms"]),
        "spread": result["proof"]["spread"],
        "bound_ms": result["proof"]["bound_ms"],
        "rounds": result["rounds"],
        "stopped": result["proof"]["stopped"],
        "networks": sessions["architecture"].nunique(),
        "sessions": int(sessions["session"].max()),
        "measurements": len(sessions),
        "seconds": round(time.time() - began, 1),
        "accepted_at": time.time(),
    }
    # What would be chosen without proof: of the first round, measured once, the most accurate that kept the limit.
    once = sessions[(sessions["session"] == 1) & (sessions["measured_latency_ms"] <= limit_ms)]
    if len(once):
        names = once["architecture"].tolist()
        accuracy = stand_in.evaluate(np.stack([space.parse(name) for name in names]))
        best = int(accuracy.argmax())
        record["unproved"] = names[best]
        record["unproved_accuracy"] = float(accuracy[best])
        record["unproved_ms"] = float(once["measured_latency_ms"].iloc[best])
    return record


class Study:
    """The records of all budgets, in a file each."""

    def __init__(self, configurations: tuple[str, ...], work: Path, seed: int) -> None:
        self.work = work
        self.configurations = {name: Configuration(name, work, seed) for name in configurations}

    def path(self, name: str, share: float) -> Path:
        return self.work / name / f"budget-{100 * share:02.0f}" / "record.json"

    def records(self) -> dict[Path, dict[str, Any]]:
        paths = [self.path(name, share) for name in self.configurations for share in SHARES]
        return {path: json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()}

    def run(self) -> None:
        # One budget of each configuration after the other: none of them gets all the quiet or busy minutes.
        for share in SHARES:
            for name, configuration in self.configurations.items():
                path = self.path(name, share)
                if not path.exists():
                    latencies = configuration.learnt_from[1]  # the first two are the min and the max net's
                    limit = float(f"{latencies[0] + share * (latencies[1] - latencies[0]):.4g}")
                    record = search(configuration, limit, path.parent) | {"share": share}
                    write_text(path, json.dumps(record, indent=1) + "\n")
                    print(f"{name} {limit} ms: {record['status']}", flush=True)
                self.measure_later(LATER_S, "later")
        while waiting := self.measure_later(LATER_S, "later"):
            time.sleep(max(0.0, waiting))
        for name in self.configurations:
            self.measure_later(0, "at_the_end", name)

    def measure_later(self, wait_s: float, when: str, only: str | None = None) -> float | None:
        """Measure what was accepted at least `wait_s` ago; seconds until the next is due, None if all is done."""
        due: dict[str, list[Path]] = {}
        rest = None
        for path, record in self.records().items():
            if record["status"] != "met" or f"{when}_ms" in record or only not in (None, record["configuration"]):
                continue
            left = record["accepted_at"] + wait_s - time.time()
            if left > 0:
                rest = left if rest is None else min(rest, left)
            else:
                due.setdefault(record["configuration"], []).append(path)
        for name, paths in due.items():
            records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
            asked = [record[key] for record in records for key in ("architecture", "unproved") if key in record]
            found = self.configurations[name].again(asked)
            for path, record in zip(paths, records, strict=True):
                record |= {f"{when}_ms": found[record["architecture"]], f"{when}_at": time.time()}
                if "unproved" in record:
                    record[f"unproved_{when}_ms"] = found[record["unproved"]]
                write_text(path, json.dumps(record, indent=1) + "\n")
        return rest


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """For each configuration, and all together."""
    rows = []
    for name, group in [*table.groupby("configuration", sort=False), ("all", table)]:
        accepted = group[group["status"] == "met"]
        again = accepted[["later_ms", "at_the_end_ms"]]
        slack = 1 - accepted["later_ms"] / accepted["limit_ms"]
        unproved = accepted.dropna(subset=["unproved"])
        unproved_kept = unproved["unproved_later_ms"] <= unproved["limit_ms"]
        rows.append(
            {
                "configuration": name,
                "budgets": len(group),
                "accepted": len(accepted),
                "infeasible": int((group["status"] == "infeasible").sum()),
                "missed": int((group["status"] == "missed").sum()),
                "met_later": float((again["later_ms"] <= accepted["limit_ms"]).mean()),
                "met_at_the_end": float((again["at_the_end_ms"] <= accepted["limit_ms"]).mean()),
                "mean_slack": float(slack.mean()),
                "median_slack": float(slack.median()),
                "largest_slack": float(slack.max()),
                "rounds": float(accepted["rounds"].mean()),
                "networks": float(accepted["networks"].mean()),
                "measurements": float(accepted["measurements"].mean()),
                "seconds": float(accepted["seconds"].mean()),
                "spread": float(accepted["spread"].median()),
                "unproved": len(unproved),
                "unproved_met_later": float(unproved_kept.mean()),
                "unproved_slack": float((1 - unproved["unproved_later_ms"] / unproved["limit_ms"]).mean()),
                "accuracy_gained": float((unproved["accuracy"] - unproved["unproved_accuracy"]).mean()),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Run what is left to run, then write the tables and the figure."""
    parser = argparse.ArgumentParser(prog="python -m experiments.budgets_hold", description=__doc__)
    parser.add_argument("--configurations", default=",".join(CONFIGURATIONS), help="device cards, with commas between")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("runs/budgets_hold"), help="the unfinished study's folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    same = {
        "cpu": processor(),
        "python": platform.python_version(),
        **{package: installed(package) for package in ("numpy", "onnxruntime", "torch")},
        "space": get_space("mobilenet_v3_small_images").name,
        "seed": arguments.seed,
        "learnt_from": LEARNT_FROM,
        "protocol": {"rounds": PROTOCOL.rounds, "runs": PROTOCOL.runs},
        "search": {key: getattr(SETTINGS, key) for key in ("finalists", "rounds", "sessions", "slack")},
    }
    begun = arguments.work / "conditions.json"
    if differ := differing(begun, same):
        parser.error(f"the study in {arguments.work} was begun with {', '.join(differ)}; name another folder by --work")
    study = Study(tuple(arguments.configurations.split(",")), arguments.work, arguments.seed)
    if begun.exists():
        conditions = json.loads(begun.read_text(encoding="utf-8"))
    else:
        conditions = same | {
            "configurations": {name: c.conditions() for name, c in study.configurations.items()},
            "load_average_before": os.getloadavg(),
        }
    print(json.dumps(conditions, indent=1), flush=True)
    write_facts(begun, conditions)
    study.run()
    conditions.setdefault("load_average_after", os.getloadavg())
    write_facts(begun, conditions)
    table = pd.DataFrame(study.records().values())
    for when in ("later", "at_the_end"):
        table[f"minutes_{when}"] = ((table[f"{when}_at"] - table["accepted_at"]) / 60).round(1)
    kept = table.drop(columns=[c for c in table.columns if c.endswith("_at")])
    summary = summarise(table)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "budgets.csv", kept.round(5).to_csv(index=False))
    write_text(arguments.out / "summary.csv", summary.round(4).to_csv(index=False))
    write_facts(arguments.out / "conditions.json", conditions)
    figure.draw(table).savefig(arguments.out / "budgets_hold.png", dpi=130)
    print(summary.round(4).to_string())


if __name__ == "__main__":
    main()
