"""What the runs came to: two CSV files that several processes may add to, the tables and the figure made of them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import kendalltau

from experiments.conditions import made_on
from experiments.recipes_cifar10.networks import SIZES
from experiments.recipes_cifar10.runs import RECIPES, Run
from latency_tables.files import atomic_path

RESULTS = Path(__file__).with_name("results")
ACCURACY, CURVES = "accuracy.csv", "curves.csv"
COLOURS = dict(zip(RECIPES, ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7"), strict=True))


@contextmanager
def _alone() -> Iterator[None]:
    """No other process adds to the files meanwhile."""
    RESULTS.mkdir(exist_ok=True)
    folder = os.open(RESULTS, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _read(name: str) -> pd.DataFrame:
    path = RESULTS / name
    return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def done(run: Run, budget: float) -> bool:
    """Whether the results have this run."""
    rows = _read(ACCURACY)
    if rows.empty:
        return False
    wanted = {"kind": run.kind, "run": run.name, "seed": run.seed, "budget": budget}
    return bool(np.logical_and.reduce([rows[name] == value for name, value in wanted.items()]).any())


def record(rows: list[dict[str, Any]], curve: list[dict[str, Any]]) -> None:
    """Add a run and where it was made to the results; ``accuracy.csv`` last, since it says that the run is done."""
    rows = [row | {"made_on": made_on("torch", "numpy")} for row in rows]
    order = ["budget", "kind", "run", "seed"]
    with _alone():
        for name, more in ((CURVES, curve), (ACCURACY, rows)):
            added = pd.DataFrame(more)
            table = pd.concat([_read(name), added]).drop_duplicates([*order, added.columns[4]], keep="last")
            with atomic_path(RESULTS / name) as temporary:
                by = [*order, "step"] if name == CURVES else order
                table.sort_values(by, kind="stable").to_csv(temporary, index=False)


def summarise(budget: float) -> str:
    """The tables, also written to ``summary.csv``, and the figure ``accuracy.png``."""
    rows = _read(ACCURACY)
    if rows.empty:
        return "no run is done yet"
    rows = rows[rows["budget"] == budget]
    alone = rows[rows["kind"] == "scratch"].groupby("network").mean(numeric_only=True)
    lines = []
    for (kind, run), part in rows[rows["kind"] == "recipe"].groupby(["kind", "run"], sort=False):
        taus = [_taus(of_seed, alone) for _, of_seed in part.groupby("seed")]
        lines.append(_line(kind, run, part) | pd.DataFrame(taus).mean().to_dict())
    scratch = rows[rows["kind"] == "scratch"]
    if len(scratch):
        ranks = _taus(scratch.assign(validation_accuracy=scratch["macs"]), alone)
        lines.append(_line("scratch", "each alone", scratch) | {"tau": np.nan, "networks": ranks["networks"]})
        lines.append({"kind": "macs", "run": "rank by MACs"} | ranks)
    for run, part in rows[rows["kind"] == "uniform"].groupby("run", sort=False):
        lines.append(_line("uniform", str(run), part))
    table = pd.DataFrame(lines).round(4)
    with atomic_path(RESULTS / "summary.csv") as temporary:
        table.to_csv(temporary, index=False)
    _draw(rows, alone)
    return table.to_string(index=False)


def _line(kind: str, run: str, part: pd.DataFrame) -> dict[str, Any]:
    """Means over seeds: accuracy on test by size, on validation over the sizes, and what the run was."""
    sizes = part[part["network"].isin(SIZES)]
    tests = sizes.groupby("network")["test_accuracy"].mean().reindex(SIZES)
    others = part if kind == "uniform" else sizes
    return {
        "kind": kind,
        "run": run,
        "seeds": part["seed"].nunique(),
        "epochs": part["epochs"].mean(),
        "cost": part["cost"].mean() if kind == "recipe" else part.groupby("network")["cost"].mean().sum(),
        **{f"test_{name}": tests[name] for name in SIZES},
        "test_mean": others["test_accuracy"].mean(),
        "validation_mean": others["validation_accuracy"].mean(),
        "macs": part["macs"].mean() if kind == "uniform" else np.nan,
    }


def _taus(inherited: pd.DataFrame, alone: pd.DataFrame) -> dict[str, float]:
    """Kendall's tau between what search sees of networks and what they come to from scratch, on test."""
    both = inherited.merge(alone.reset_index(), on="network", suffixes=("", "_alone"))
    tau = kendalltau(both["validation_accuracy"], both["test_accuracy_alone"])[0] if len(both) > 2 else np.nan
    return {"tau": float(tau), "networks": len(both)}


def _draw(rows: pd.DataFrame, alone: pd.DataFrame) -> None:
    figure = Figure(figsize=(10.5, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, colour in COLOURS.items():
        part = rows[(rows["kind"] == "recipe") & (rows["run"] == name)]
        if part.empty:
            continue
        means = part.groupby("network").mean(numeric_only=True)
        sizes = means[means.index.isin(SIZES)].sort_values("macs")
        left.plot(sizes["macs"] / 1e6, 100 * sizes["test_accuracy"], "o-", color=colour, label=name)
        both = means.reset_index().merge(alone.reset_index(), on="network", suffixes=("", "_alone"))
        right.plot(
            100 * both["test_accuracy_alone"],
            100 * both["validation_accuracy"],
            "o",
            color=colour,
            label=name,
            alpha=0.8,
        )
    left.plot(alone["macs"] / 1e6, 100 * alone["test_accuracy"], "k^", label="each network alone, same epochs")
    scaled = rows[rows["kind"] == "uniform"].groupby("run").mean(numeric_only=True)
    if len(scaled):
        left.plot(
            scaled["macs"] / 1e6, 100 * scaled["test_accuracy"], "x", color="#888888", label="max net scaled, alone"
        )
    left.set_xlabel("MACs of the network (millions)")
    left.set_ylabel("accuracy on test (%)")
    right.set_xlabel("trained alone: accuracy on test (%)")
    right.set_ylabel("inherited weights: accuracy on validation (%)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, fontsize=7.5, loc="best")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    with atomic_path(RESULTS / "accuracy.png") as temporary:
        figure.savefig(temporary, dpi=150, format="png")
