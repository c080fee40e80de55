"""The study's tables in short, and its figure."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.search_speed import rivals
from experiments.search_speed.task import KNOWN

COLOURS = {
    "ours": "#0072B2",
    "ours, 40,000 evaluations": "#56B4E9",
    "once-for-all finder": "#D55E00",
    "pymoo NSGA-II": "#E69F00",
    "Optuna NSGA-II": "#009E73",
    "Optuna TPE": "#CC79A7",
    "regularised evolution": "#E69F00",
    "gradient": "#D55E00",
    "random": "#888888",
}


def summary(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """What the README quotes."""
    if name == "macro":
        # A search that gave up counts as one that never gets there.
        queries = table["queries_to_optimum"].where(table["queries_to_optimum"] > 0, np.inf)
        grouped = queries.groupby(table["method"])
        return grouped.agg(
            ["count", "median", lambda q: q.quantile(0.9, interpolation="higher"), lambda q: np.isinf(q).sum()]
        ).set_axis(["runs", "median", "nine_in_ten", "never"], axis=1)
    if name == "strategies":
        return rivals.summary(table)
    if name == "fronts":
        return table.groupby(["method", "cpu_s"])["hypervolume"].mean().unstack()
    if name == "help_budgets":
        grouped = table.groupby(["device", "budget_ms"], sort=False)
        return grouped[[c for c in table.columns if c not in ("device", "budget_ms", "seed")]].mean()
    grouped = table.groupby(["budget_ms", "method"])
    worst = grouped[[c for c in table.columns if c.startswith("s_to")]].agg(["median", "max"])
    best = grouped["best"].agg(["min", "mean", "max"])
    return best.join(worst.set_axis(["_".join(pair) for pair in worst.columns], axis=1))


def draw(results: dict[str, pd.DataFrame]) -> Figure:
    """Gap to the best known, hypervolume, and queries to the optimum."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.9), layout="constrained")
    table = results["once_for_all"]
    columns = [c for c in table.columns if c.startswith("best_after_")]
    moments = [float(c.removeprefix("best_after_").removesuffix("s")) for c in columns]
    for method, rows in table.groupby("method", sort=False):
        known = rows["budget_ms"].map(KNOWN).to_numpy()
        gaps = 100 * (known[:, None] - rows[columns].to_numpy())
        last = (*moments, max(moments[-1], float(rows["s_to_own_best"].max())))
        gaps = np.concatenate([gaps, 100 * (known - rows["best"].to_numpy())[:, None]], axis=1)
        gaps[gaps > 50] = np.nan  # nothing known yet
        left.plot(last, np.nanmean(gaps, axis=0), "o-", color=COLOURS[str(method)], label=f"{method}, mean")
        left.plot(last, np.nanmax(gaps, axis=0), "--", color=COLOURS[str(method)], label=f"{method}, worst")
    left.set(
        xscale="log",
        xlabel="CPU seconds",
        ylabel="points below the best known",
        title="Once-for-all's task, four budgets",
    )
    left.axhline(0.05, color="#888888", linewidth=0.8)
    for method, rows in results["fronts"].groupby("method", sort=False):
        means = rows.groupby("cpu_s")["hypervolume"].mean()
        middle.plot(means.index, means, "o-", color=COLOURS[str(method)], label=method)
    middle.set(xscale="log", xlabel="CPU seconds", ylabel="hypervolume", title="Whole front of the same task")
    middle.set_ylim(bottom=1.7)  # room for the legend
    for method, rows in results["macro"].groupby("method", sort=False):
        queries = rows["queries_to_optimum"]
        queries = np.sort(queries.where(queries > 0, np.inf))
        right.step(
            queries,
            np.arange(1, len(queries) + 1) / len(queries),
            where="post",
            color=COLOURS[str(method)],
            label=method,
        )
    right.set(
        xscale="log", xlabel="queries", ylabel="share of runs at the true optimum", title="NAS-Bench-Macro, ten budgets"
    )
    for axes in (left, middle, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, frameon=False, loc="lower right" if axes is middle else "best")
    return figure
