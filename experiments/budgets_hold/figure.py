"""The study's figure: what was measured of every accepted network, as a share of its budget."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

TITLES = {
    "cpu": "onnxruntime",
    "cpu-int8": "onnxruntime int8",
    "cpu-litert": "LiteRT",
    "cpu-litert-int8": "LiteRT int8",
    "cpu-ncnn": "ncnn",
    "cpu-openvino": "OpenVINO",
}
BLUE, GREEN, VERMILION = "#0072B2", "#009E73", "#D55E00"


def draw(table: pd.DataFrame) -> Figure:
    """One column a budget: sessions of the search, later ones, and those of a network accepted without proof."""
    accepted = table[table["status"] == "met"].reset_index(drop=True)
    figure, axes = plt.subplots(figsize=(13, 4.6), layout="constrained")
    edges, at = [], 0.0
    for name, group in accepted.groupby("configuration", sort=False):
        places = at + np.arange(len(group))
        edges.append((float(places.mean()), at - 1, TITLES.get(str(name), str(name))))
        limit = group["limit_ms"].to_numpy()
        for place, (_, row) in zip(places, group.iterrows(), strict=True):
            sessions = np.array([float(ms) for ms in row["sessions_ms"].split()]) / row["limit_ms"]
            axes.plot(np.full(len(sessions), place), 100 * sessions, "_", color=BLUE, markersize=9, alpha=0.8)
        unproved = 100 * group["unproved_later_ms"].to_numpy() / limit
        axes.plot(places + 0.25, unproved, "x", color=VERMILION, markersize=6)
        for column, marker in (("later_ms", "o"), ("at_the_end_ms", "D")):
            axes.plot(places, 100 * group[column] / limit, marker, color=GREEN, markersize=5, linestyle="none")
        at = places[-1] + 2
    axes.axhline(100, color="#222222", linewidth=1.2)
    for centre, left, title in edges:
        axes.axvline(left, color="#bbbbbb", linewidth=0.8)
        axes.text(centre, 1.01, title, ha="center", va="bottom", transform=axes.get_xaxis_transform())
    for marker, colour, label in (
        ("_", BLUE, "accepted: sessions of its search"),
        ("o", GREEN, "accepted: fresh process, at least five minutes later"),
        ("D", GREEN, "accepted: fresh process, at the end"),
        ("x", VERMILION, "most accurate of the first round by one measurement, same later process"),
    ):
        axes.plot([], [], marker, color=colour, label=label, linestyle="none")
    axes.set(xticks=[], xlim=(-1, at - 1), xlabel="budgets, tighter to wider", ylabel="latency, % of the budget")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    return figure
