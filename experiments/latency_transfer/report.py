"""Tables and the figure of the study, from its rows of results."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd

from experiments.latency_transfer.data import FBNET_THREE, INCOMPLETE, SPLITS
from latency_tables.files import atomic_path, write_text

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ERRORS = ["spearman", "spearman_trimmed", "mape", "within_10", "within_one_sigma", "within_two_sigma"]
NASFLAT = "NASFLAT (MLSys 2024)"
PUBLISHED = Path(__file__).parent / "published.csv"
COLOURS = {"nasbench201": "#1f5fa8", "fbnet": "#c4551d", "fbnet (3 devices)": "#2a8a57"}


def with_three_devices(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows, and again those of the three FBNet devices that HELP's own table has, as a set of their own."""
    three = rows[(rows["split"] == "fbnet") & rows["device"].isin(FBNET_THREE)].assign(split="fbnet (3 devices)")
    return pd.concat([rows, three])


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over devices and seeds of each set and n, and how far the means of single seeds lie apart."""
    rows = with_three_devices(rows)
    keys = ["split", "method", "n"]
    by_seed = rows.groupby([*keys, "seed"])[ERRORS].mean()
    table = by_seed.groupby(keys).mean()
    for column in ("spearman_trimmed", "mape"):
        table[f"{column}_sd"] = by_seed[column].groupby(keys).std()
    return table.round(4).reset_index()


def by_device(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds; simulated devices are marked, and come last."""
    columns = [*ERRORS, "claimed_mape", "claimed_over_true", "doubted"]
    table = rows.groupby(["simulated", "split", "method", "n", "device"])[columns].mean()
    return table.round(4).reset_index()


def measured_only(rows: pd.DataFrame) -> pd.DataFrame:
    """The summary without simulated devices."""
    return summary(rows[~rows["simulated"]])


def against_alone(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over devices with the fleet and without, side by side, and what the fleet changes; a row each set and n."""
    table = rows.groupby(["split", "n", "method"])[["spearman", "mape"]].mean().unstack("method")
    side = pd.DataFrame({f"{column}_{method}": table[column, method] for column, method in table.columns})
    side["spearman_gain"] = side["spearman_fleet"] - side["spearman_alone"]
    side["mape_gain"] = side["mape_alone"] - side["mape_fleet"]
    return side.round(4).reset_index()


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV table."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def figure(path: Path, rows: pd.DataFrame) -> None:
    """Error against the number of measured networks, with the published points."""
    everything = summary(rows)
    table = everything[everything["method"] == "fleet"]
    alone = everything[everything["method"] == "alone"]
    published = pd.read_csv(PUBLISHED, keep_default_na=False, na_values=[""])
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.4), layout="constrained")
    _against_n(left, table, published, "spearman_trimmed", "spearman")
    left.set_ylabel("rank correlation (Spearman, trimmed)")
    left.set_ylim(0.7, 1)
    _against_n(middle, table, published, "mape", "mape", percent=True)
    middle.set_ylabel("mean absolute error, %")
    middle.set_ylim(0, 14)
    for axes, column, unit in ((left, "spearman_trimmed", 1), (middle, "mape", 100)):
        for name, colour in COLOURS.items():
            line = alone[alone["split"] == name]
            axes.plot(line["n"], unit * line[column], ":", color=colour, label=f"without a fleet, {name}")
    left.legend(frameon=False, fontsize=7, loc="lower right")
    _nasflat(right, table, alone, published)
    fig.suptitle("An unseen device, predicted from n measured networks", fontsize=12)
    with atomic_path(path) as temporary:
        fig.savefig(temporary, dpi=130, format="png", metadata={"Software": None})
    plt.close(fig)


def _against_n(
    axes: plt.Axes, table: pd.DataFrame, published: pd.DataFrame, ours: str, theirs: str, *, percent: bool = False
) -> None:
    unit = 100 if percent else 1
    published = published[published["trimmed"].astype(str) == "True"]  # untrimmed ones stand in the right panel
    for name, colour in COLOURS.items():
        line = table[table["split"] == name]
        axes.plot(line["n"], unit * line[ours], "o-", color=colour, label=f"ours, {name}", markersize=4)
        spread = line.get(f"{ours}_sd")
        if spread is not None:
            low, high = unit * (line[ours] - spread), unit * (line[ours] + spread)
            axes.fill_between(line["n"], low, high, color=colour, alpha=0.15, linewidth=0)
        for point in published[
            (published["set"] == name) & published[theirs].notna() & (published["n"] > 0)
        ].itertuples():
            value = unit * getattr(point, theirs)
            axes.plot(point.n, value, "x", color=colour, markersize=8, markeredgewidth=2)
            # HELP's two points of the three devices coincide, and the next line runs right of them.
            if name == "fbnet (3 devices)" and "re-run" in point.method:
                continue
            right = point.n < 20 or name != "fbnet (3 devices)"
            axes.annotate(
                point.method if right else "HELP",
                (point.n, value),
                xytext=(6, -11 if "re-run" in point.method else 5) if right else (-6, -10),
                ha="left" if right else "right",
                textcoords="offset points",
                fontsize=7,
                color=colour,
            )
    axes.set_xlabel("networks measured on the device, all counted")
    axes.set_xlim(0, 26)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)


def _nasflat(axes: plt.Axes, table: pd.DataFrame, alone: pd.DataFrame, published: pd.DataFrame) -> None:
    """Bars of NASFLAT's sets: with a fleet, without, and the best that was published."""
    untrimmed = published[(published["n"] == 20) & (published["source"] == NASFLAT)]
    best = untrimmed.groupby("set")["spearman"].max()
    best = best.loc[[name for name in SPLITS if name in best.index]]
    places = range(len(best))
    for offset, rows, colour, label in (
        (-0.27, table, COLOURS["fbnet"], "with the fleet"),
        (0, alone, "#e8b89a", "without"),
    ):
        # A set that was not run leaves a gap.
        values = rows[rows["n"] == 20].set_index("split")["spearman"].reindex(best.index)
        axes.bar([p + offset for p in places], values, 0.26, color=colour, label=label)
    axes.bar([p + 0.27 for p in places], best, 0.26, color="#b8b8b8", label="best published")
    names = [f"{name}*" if name in INCOMPLETE else name.replace("nasbench201", "ND") for name in best.index]
    axes.set_xticks(list(places), names)
    axes.set_ylim(0.5, 1.12)
    axes.set_xlabel("NASFLAT's sets, n = 20 (* some devices missing)")
    axes.set_ylabel("rank correlation (Spearman)")
    axes.legend(frameon=False, fontsize=8, loc="upper right", ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
