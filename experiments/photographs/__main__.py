"""What makes subnets of a trained network good in minutes: ``python -m experiments.photographs --data FOLDER``.

FOLDER holds photographs, a folder for each class. Four parts, two of them with ``--seeds``:

``classifier`` fits logistic regressions to the features of the trained max net at each resolution, by strength of the
penalty: ``results/classifier.csv``.

``recipes`` trains EfficientNet-Lite0, elastic, in the same number of passes over the images with one thing changed at a
time, and evaluates networks of several sizes with calibrated batch-norm: ``results/recipes.csv``.

``budgets`` runs ``nas search`` as it is typed, for several latency budgets, beside its baselines:
``results/budgets.csv``.

``alone`` trains three networks of the supernet in ``--supernet`` alone, by labels as ``--finetune-time`` does and with
the widest network as teacher: ``results/alone.csv``.

The test split is evaluated in all of them, and decides nothing.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.conditions import add_rows, made_on
from nas.cli.outcome import EXIT_INFEASIBLE, EXIT_MISSED, EXIT_OK
from nas.data import DataSettings, ImageData, load_data
from nas.evaluation.accuracy import evaluate_subnets, evaluate_subnets_on_test
from nas.evaluation.trained import TrainedSupernet
from nas.pipeline.finetune import teacher_of
from nas.pipeline.initial import initial_normalisation, initial_space, initial_supernet
from nas.pipeline.photographs import TRAIN_TIME, adapting
from nas.pipeline.settings import SETTINGS_FILE
from nas.pipeline.usual_finetuning import usual_finetuning
from nas.progress import Listener
from nas.search.budget import Limit
from nas.supernet import Subnet, Supernet
from nas.training import Finetuning, Phase, Recipe, load_recipe, train
from nas.training.classifier import features, fit_classifier, regression
from nas.training.finetune import finetune
from search_spaces import SearchSpace, get_space

RESULTS = Path(__file__).parent / "results"
INIT = "efficientnet_lite0"
PARTS = ["classifier", "recipes", "budgets", "alone"]
WIDEST, SUBNETS = load_recipe("adapt").phases
SANDWICH = Phase(name="sandwich", share=1.0, sampler="sandwich", n_random=1, draw="budget", target="max_net")

BY_SGD: dict[str, Any] = {"optimizer": "sgd", "weight_decay": 1e-4}
"""As the recipe was before it learnt by AdamW."""
RECIPE_KEYS = ["optimizer", "learning_rate", "recipe", "seed", "epochs", "network"]
BUDGET_KEYS = ["optimizer", "learning_rate", "finalist_by", "budget", "train_time", "seed", "network"]
ALONE = ("least depth", "expansion 5")
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 1.0)

Change = Callable[[Recipe], Recipe]
RECIPES: dict[str, tuple[bool, Change]] = {
    "adapt": (True, lambda recipe: recipe),
    "classifier not fitted first": (
        False,
        lambda recipe: replace(recipe, **BY_SGD, learning_rate=0.1, trained_share=0.1),
    ),
    "gradient descent": (True, lambda recipe: replace(recipe, **BY_SGD, learning_rate=0.03, trained_share=0.5)),
    "trained weights learn as fast": (True, lambda recipe: replace(recipe, trained_share=1.0)),
    "half the learning rate": (True, lambda recipe: replace(recipe, learning_rate=recipe.learning_rate / 2)),
    "twice the learning rate": (True, lambda recipe: replace(recipe, learning_rate=2 * recipe.learning_rate)),
    "both of these": (
        True,
        lambda recipe: replace(recipe, trained_share=1.0, learning_rate=2 * recipe.learning_rate),
    ),
    "subnets from the first step": (True, lambda recipe: replace(recipe, phases=(replace(SUBNETS, share=1.0),))),
    "max net at all resolutions only": (True, lambda recipe: replace(recipe, phases=(replace(WIDEST, share=1.0),))),
    "sandwich at the largest resolution": (
        True,
        lambda recipe: replace(recipe, phases=(SANDWICH,)),
    ),
}
"""By name: whether the classifier is fitted to the features first, and what is changed."""


def networks(space: SearchSpace) -> dict[str, Any]:
    """Genotypes by what they are: the max net at each resolution, narrower and shallower ones at the largest."""
    found = {}
    for index, side in enumerate(space.genes[0].values):
        row = space.max.copy()
        row[0] = index
        found[f"max net at {side} px"] = row
    for choice in range(int(space.n_choices[space.columns["stage1_block1_expansion"]]) - 1):
        row = space.max.copy()
        for column, gene in enumerate(space.genes):
            if gene.kind == "expansion":
                row[column] = choice
        found[f"expansion {space.genes[space.columns['stage1_block1_expansion']].values[choice]}"] = row
    row = space.max.copy()
    for column, gene in enumerate(space.genes):
        if gene.kind == "depth":
            row[column] = 0
    found["least depth"] = row
    return found | {"min net": space.min}


def train_by(name: str, data: ImageData, epochs: float, seed: int, resolutions: list[int]) -> list[dict[str, Any]]:
    """Rows of the table of recipes for one of them."""
    fitted, change = RECIPES[name]
    options = initial_space(INIT, {"resolutions": resolutions})
    supernet: Supernet = initial_supernet(INIT, get_space(**options, num_classes=len(data.classes)), seed)
    began = time.perf_counter()
    if fitted:
        fit_classifier(supernet, data)
    recipe = change(replace(adapting(INIT), epochs=epochs))
    with tempfile.TemporaryDirectory() as folder:
        train(supernet, data, recipe, folder, seed=seed, evaluations=1)
    seconds = time.perf_counter() - began
    chosen = networks(supernet.space)
    population = np.stack(list(chosen.values()))
    macs = supernet.space.costs(population).macs
    validation = evaluate_subnets(supernet, population, data)
    test = evaluate_subnets_on_test(supernet, population, data)
    return [
        {"optimizer": recipe.optimizer, "learning_rate": str(recipe.learning_rate), "recipe": name}
        | {"seed": seed, "epochs": epochs, "seconds": round(seconds), "network": network}
        | {"mmacs": round(int(macs[i]) / 1e6, 1), "validation": round(float(validation[i]), 4)}
        | {"test": round(float(test[i]), 4)}
        for i, network in enumerate(chosen)
    ]


def classifiers(data: ImageData, side: int) -> list[dict[str, Any]]:
    """Rows of the table of classifiers for one resolution."""
    options = initial_space(INIT, {"resolutions": [side]})
    supernet = initial_supernet(INIT, get_space(**options, num_classes=len(data.classes)))
    read = {split: features(supernet, data, getattr(data, split)) for split in ("train", "validation", "test")}
    rows = []
    for c in STRENGTHS:
        fitted = regression(*read["train"], c)
        scores = {split: round(float(fitted.score(*part)), 4) for split, part in read.items()}
        rows.append({"resolution": side, "c": c, **scores})
    return rows


def search_by(data: str, budget: str, train_time: str, seed: int, more: list[str], work: Path) -> list[dict[str, Any]]:
    """Rows of the table of budgets for one search, as it is typed; a budget that was missed is one of them."""
    words = hashlib.sha256(json.dumps([data, train_time, more]).encode()).hexdigest()[:8]
    out = work / f"{budget.rstrip('%')}_{seed}_{words}"
    command = [sys.executable, "-m", "nas", "search", "--data", data, "--latency", budget, "--seed", str(seed)]
    command += ["--train-time", train_time, "--out", str(out), *more]
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=work, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    _, status, used = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (EXIT_OK, EXIT_MISSED, EXIT_INFEASIBLE):
        raise SystemExit(f"{' '.join(command)} failed")
    seconds, memory_gb = time.perf_counter() - began, used.ru_maxrss * 1024 / 1e9
    if code == EXIT_INFEASIBLE:
        print(f"{budget}: no network can keep it", flush=True)
        return [infeasible(budget, train_time, seed, seconds, memory_gb)]
    recipe = json.loads((out / SETTINGS_FILE).read_text())["settings"]["recipe"]
    told = {"optimizer": recipe["optimizer"], "learning_rate": str(recipe["learning_rate"])}
    by_loss = pd.read_csv(out / "finalists.csv")["measured_loss"].notna().any()
    told |= {"finalist_by": "loss and evaluated" if by_loss else "accuracy and evaluated"}
    record = json.loads((out / "result.json").read_text())
    return [told | row for row in rows_of(record, budget, train_time, seconds, memory_gb)]


def infeasible(budget: str, train_time: str, seed: int, seconds: float, memory_gb: float) -> dict[str, object]:
    """The row of a budget that no network can keep."""
    row = dict.fromkeys(("optimizer", "learning_rate", "finalist_by"), "none")
    row |= {"budget": budget, "train_time": train_time, "seed": seed, "status": "infeasible", "network": "none"}
    return row | {"seconds": round(seconds), "memory_gb": round(memory_gb, 2)}


def rows_of(
    record: Mapping[str, Any], budget: str, train_time: str, seconds: float, memory_gb: float
) -> list[dict[str, Any]]:
    """Rows for the chosen network and the baselines of a finished search.

    `latency_ms` of the chosen network is what the search proved; `session_ms` is from one session with the baselines.
    Where the budget was missed, nothing was deployed: resolution, accuracy on test and baselines are not known.
    """
    limit = next(b["limit"] for b in record["budgets"] if b["key"] == "latency_ms")
    common = {
        "budget": budget,
        "train_time": train_time,
        "seed": record["seed"],
        "limit_ms": round(limit, 3),
        "status": record["status"],
        "seconds": round(seconds),
        "memory_gb": round(memory_gb, 2),
    }
    chosen = {
        "name": "chosen network",
        "resolution": record.get("resolution"),
        "macs": record["costs"]["macs"],
        "accuracy": record["measured"]["accuracy"],
        "test_accuracy": record.get("test_accuracy"),
        "test_error": record.get("test_accuracy_error"),
        "latency_ms": record["measured"]["latency_ms"],
    }
    compared = record.get("baselines") or {}
    found = [chosen, *compared.get("networks", [])]
    session = [compared.get("chosen", {}).get("latency_ms"), *(each["latency_ms"] for each in found[1:])]
    return [
        common
        | {"network": n["name"], "resolution": n["resolution"], "mmacs": round(n["macs"] / 1e6, 1)}
        | {"validation": _rounded(n["accuracy"], 4), "test": _rounded(n["test_accuracy"], 4)}
        | {"test_error": _rounded(n["test_error"], 4), "latency_ms": _rounded(n["latency_ms"], 3)}
        | {"session_ms": _rounded(ms, 3)}
        for n, ms in zip(found, session, strict=True)
    ]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def trained_alone(
    supernet: str, train_time: str, rate: float, side: int, seed: int, architecture: str | None
) -> list[dict[str, Any]]:
    """Rows of the table of networks trained alone, by labels and with a teacher too: some at `side` pixels, or one."""
    trained = TrainedSupernet.open(supernet)
    space = trained.space
    usual = Finetuning(**usual_finetuning(trained.card))
    settings = replace(usual, learning_rate=rate * usual.learning_rate)
    rows = []
    chosen = {"widest": space.max.copy()} | {name: row for name, row in networks(space).items() if name in ALONE}
    for genotype in chosen.values():
        genotype[0] = space.genes[0].values.index(side)
    chosen = {f"{name} at {side} px": row for name, row in chosen.items()}
    if architecture is not None:
        chosen = {architecture: space.parse(architecture)}
    for name, genotype in chosen.items():
        subnet = trained.subnet(genotype)
        taught: Subnet | None = teacher_of(subnet, trained, replace(settings, label_weight=0.5))
        for teacher in [None] if taught is None else [None, taught]:
            tuned = finetune(
                subnet,
                teacher,
                trained.data,
                replace(settings, label_weight=1.0 if teacher is None else 0.5),
                seed=seed,
                train_time=train_time,
                listener=Listener(say=print),
            )
            accuracies = {
                f"{split}_{when}": round(getattr(getattr(tuned, when), split), 4)
                for split in ("validation", "test")
                for when in ("before", "after")
            }
            row = {"network": name, "teacher": teacher is not None, "rate": rate}
            rows.append(row | {"seed": seed, "train_time": train_time, "epochs": tuned.epochs} | accuracies)
    return rows


def add(rows: list[dict[str, Any]], name: str, keys: list[str], **common: str) -> None:
    """Add rows to a table, with `common` and where they were made in each; those of the same keys are replaced."""
    common["made_on"] = made_on("torch", "onnxruntime")
    add_rows(RESULTS / name, [common | row for row in rows], [*common, *keys])


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)} (all where none is named)")
    parser.add_argument("--data", required=True, help="folder of photographs")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between")
    parser.add_argument("--recipes", default=",".join(RECIPES), help="names with commas between")
    parser.add_argument("--epochs", type=float, default=6)
    parser.add_argument("--resolutions", default="96,128,160,192,224")
    parser.add_argument("--budgets", default="75%,60%,50%,35%")
    parser.add_argument("--train-time", default=TRAIN_TIME)
    parser.add_argument("--more", default="", help="further words for nas search, with spaces between")
    parser.add_argument("--supernet", help="run folder of a finished training on these photographs, for `alone`")
    parser.add_argument("--alone-time", default="5min")
    parser.add_argument("--alone-sides", default="160", help="resolutions, with commas between")
    parser.add_argument("--architecture", help="train this network of the supernet alone, instead of three")
    parser.add_argument("--alone-rates", default="1", help="times the usual learning rate, with commas between")
    parser.add_argument("--work", type=Path, default=Path("runs/photographs"), help="where the searches go")
    asked = parser.parse_args()
    for named, known in ((asked.part, PARTS), (asked.recipes.split(","), RECIPES)):
        for name in named:
            if name not in known:
                parser.error(f"{name!r} is none of {', '.join(known)}")
    asked.part = asked.part or PARTS
    for budget in asked.budgets.split(","):
        Limit.parse("latency", budget)
    if "alone" in asked.part and asked.supernet is None:
        asked.part = [part for part in asked.part if part != "alone"]
        print("alone is left out: it needs --supernet")
    sides = [int(side) for side in asked.resolutions.split(",")]
    data = load_data(DataSettings(name="folder", root=asked.data, resolution=max(sides)))
    mean, std = initial_normalisation(INIT)
    data = replace(data, mean=mean, std=std)
    photographs = Path(asked.data).resolve().name
    for side in sides if "classifier" in asked.part else ():
        add(classifiers(data, side), "classifier.csv", ["resolution", "c"], photographs=photographs)
    if "alone" in asked.part:
        keys = ["network", "teacher", "rate", "seed", "train_time"]
        for side in map(int, asked.alone_sides.split(",")):
            for rate in map(float, asked.alone_rates.split(",")):
                rows = trained_alone(asked.supernet, asked.alone_time, rate, side, 0, asked.architecture)
                add(rows, "alone.csv", keys, photographs=photographs)
    for seed in map(int, asked.seeds.split(",")):
        if "recipes" in asked.part:
            for name in asked.recipes.split(","):
                rows = train_by(name, data, asked.epochs, seed, sides)
                add(rows, "recipes.csv", RECIPE_KEYS, photographs=photographs, largest=str(max(sides)))
        if "budgets" in asked.part:
            asked.work.mkdir(parents=True, exist_ok=True)
            for budget in asked.budgets.split(","):
                more = asked.more.split()
                path = str(Path(asked.data).resolve())
                rows = search_by(path, budget, asked.train_time, seed, more, asked.work.resolve())
                add(rows, "budgets.csv", BUDGET_KEYS, photographs=photographs, more=asked.more)


if __name__ == "__main__":
    main()
