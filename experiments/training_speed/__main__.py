"""What a training step costs: ``python -m experiments.training_speed`` (from the repository's root).

Writes ``results/<table>.csv`` for each of the tables, and ``results/conditions.json`` (``conditions_<table>.json``
of one table alone); prints them, the machine, the versions and the seed. One thread, but for the table ``threads``.
"""

import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

import pandas as pd  # noqa: E402
import torch  # noqa: E402

from experiments.conditions import machine, write_facts  # noqa: E402
from experiments.training_speed.compiled import compiled  # noqa: E402
from experiments.training_speed.images import images  # noqa: E402
from experiments.training_speed.measure import compared, in_turns  # noqa: E402
from experiments.training_speed.precisions import precisions  # noqa: E402
from experiments.training_speed.threads import threads  # noqa: E402
from experiments.training_speed.work import Step, noise, once_for_all, recipe, static  # noqa: E402
from latency_tables.files import write_text  # noqa: E402
from nas.supernet import Supernet  # noqa: E402
from search_spaces import get_space  # noqa: E402

RESULTS = Path(__file__).parent / "results"
RECIPES = ("ofa", "bignas", "alphanet", "compofa", "deps")
SMALL_BATCH, LARGE_BATCH, LARGE_RESOLUTION = 64, 16, 128
SEED = 0


def against_static(rounds: int) -> pd.DataFrame:
    """The last phase of each recipe on the small-image space, and its subnets as plain networks."""
    rows = []
    data = noise(1024, 32, 10)
    for name in RECIPES:
        torch.manual_seed(SEED)
        chosen = recipe(name, SMALL_BATCH)
        step = Step(Supernet(get_space("mobilenet_v3_small_images"), chosen.kernel_transform), data, chosen)
        seconds = in_turns({"step": step, "plain networks": static(step)}, rounds)
        rows.append(compared(f"{name}: {step.phase.name}", "step", "plain networks", seconds))
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def against_once_for_all(rounds: int) -> pd.DataFrame:
    """Progressive shrinking's step with one and with four subnets, on once-for-all's own space."""
    rows = []
    space = get_space("mobilenet_v3", resolutions=(LARGE_RESOLUTION,), num_classes=1000)
    data = noise(1024, LARGE_RESOLUTION, 1000)
    for phase in (1, 5):
        torch.manual_seed(SEED)
        step = Step(Supernet(space, kernel_transform=True), data, recipe("ofa", LARGE_BATCH), phase)
        works = {
            "ours": step,
            "once-for-all": once_for_all(step, channels_last=False),
            "once-for-all, channels-last": once_for_all(step, channels_last=True),
        }
        seconds = in_turns(works, rounds)
        name = f"{step.phase.name}: {step.phase.n_random} subnets and the teacher"
        rows += [compared(name, other, "ours", seconds) for other in list(works)[1:]]
        print(*rows[-2:], sep="\n", flush=True)
    table = pd.DataFrame(rows)
    table.insert(0, "code", ["once-for-all", "once-for-all, channels-last"] * 2)
    return table


TABLES = {
    "static": against_static,
    "once_for_all": against_once_for_all,
    "images": images,
    "compiled": compiled,
    "threads": threads,
    "precisions": precisions,
}


def conditions(rounds: int) -> dict[str, object]:
    """What a reader must know of the machine."""
    return {
        **machine("torch", "numpy", "ofa"),
        "threads": torch.get_num_threads(),
        "seed": SEED,
        "rounds": rounds,
        "small_images": f"mobilenet_v3_small_images, 32 px, batch {SMALL_BATCH}",
        "once_for_all": f"mobilenet_v3, {LARGE_RESOLUTION} px, batch {LARGE_BATCH}",
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m experiments.training_speed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each comparison (default 20)")
    parser.add_argument("--only", choices=list(TABLES), help="one of the tables")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    facts = conditions(arguments.rounds)
    print(json.dumps(facts, indent=1))
    for name, measured in TABLES.items():
        if arguments.only in (None, name):
            table = measured(arguments.rounds)
            write_text(RESULTS / f"{name}.csv", table.to_csv(index=False))
            print(table.to_string(index=False))
    of = f"conditions_{arguments.only}.json" if arguments.only else "conditions.json"
    write_facts(RESULTS / of, facts)


if __name__ == "__main__":
    main()
