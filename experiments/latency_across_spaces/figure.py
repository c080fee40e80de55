"""Error against the number of measured networks, ours and a line in MACs."""

from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from latency_tables.files import atomic_path

COLOURS = {"latency predictor": "#009E73", "operator costs": "#0072B2", "MACs line": "#D55E00"}
TITLES = {"pixel1": "Pixel 1, ProxylessNAS space", "note10": "Note 10, once-for-all w1.2 space"}


def draw(summary: pd.DataFrame, path: Path) -> None:
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    for place, (device, title) in enumerate(TITLES.items(), start=1):
        axes = figure.add_subplot(1, 2, place)
        for method, colour in COLOURS.items():
            rows = summary[(summary["device"] == device) & (summary["method"] == method) & (summary["n"] > 0)]
            for source, style, label in (("of the table", "o-", "same space"), ("published", "s--", "other spaces")):
                part = rows[rows["target_networks"] == source]
                axes.plot(
                    part["n"], 100 * part["mape"], style, color=colour, label=f"{method}, measured in the {label}"
                )
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("networks measured on the phone")
        axes.set_ylabel("mean absolute error (%)")
        axes.set_ylim(0, None)
        axes.grid(alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if place == 1:
            axes.legend(frameon=False, fontsize=7.5)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
