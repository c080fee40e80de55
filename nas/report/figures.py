"""The figures of a search: the front, predicted against measured, and convergence.

Accuracies are drawn in percent, latencies in milliseconds.
"""

from typing import Any

import numpy as np

from latency_tables.files import shown
from nas.report.drawing import (
    BLUE,
    GREEN,
    LIGHT,
    ORANGE,
    VERMILION,
    Axes,
    Figure,
    Theme,
    canvas,
    default_style,
    empty_figure,
    style_axes,
)
from nas.report.run_folder import SearchRun


@default_style()
def pareto_figure(run: SearchRun, theme: Theme = LIGHT) -> Figure:
    """Accuracy against latency (or MACs): random networks, the front, the finalists, the choice, the budget."""
    figure, axes = canvas(theme, (7.6, 5.0))
    scale = 1.0 if run.has_latency else 1e-6
    axes.scatter(
        run.cloud[run.cost] * scale,
        run.cloud["predicted_accuracy"] * 100,
        s=5,
        color=theme.dots,
        linewidths=0,
    )
    accuracy, std = run.front["predicted_accuracy"] * 100, run.front["predicted_accuracy_std"] * 100
    axes.fill_between(run.front[run.cost] * scale, accuracy - std, accuracy + std, color=theme.front, alpha=0.16, lw=0)
    axes.plot(
        run.front[run.cost] * scale,
        accuracy,
        color=theme.front,
        linewidth=2.2,
        label="best found, predicted (± 1 std)",
    )
    if run.has_latency:
        _finalists_on_front(axes, run, theme)
    _baselines(axes, run, theme)
    x, y = _position_of_chosen(run, scale)
    axes.scatter([x], [y], marker="*", s=330, color=GREEN, edgecolors=theme.ink, linewidths=0.9, zorder=6)
    # Both again for the legend, at sizes that show there.
    axes.plot([], [], "o", color=theme.dots, markersize=4, label="random networks, predicted")
    axes.plot([], [], "*", color=GREEN, markeredgecolor=theme.ink, markersize=12, label="chosen network")
    limit = run.limit("latency_ms" if run.has_latency else "macs")
    if limit is not None:
        axes.axvline(limit * scale, color=theme.ink, linewidth=1.4, linestyle=(0, (5, 3)))
        axes.annotate(
            f"budget {limit * scale:.3g} {'ms' if run.has_latency else 'M'}",
            (limit * scale, 1.01),
            xycoords=("data", "axes fraction"),
            color=theme.ink,
            ha="center",
        )
    device = shown(run.record["device"] or "the device")
    # A name may have a $ in it, which would begin a formula.
    axes.set_xlabel(f"latency on {device} (ms)" if run.has_latency else "MACs (millions)", parse_math=False)
    axes.set_ylabel(f"{run.accuracy_name} (%)")
    legend = figure.legend(loc="outside lower center", ncols=3, fontsize=8.5, frameon=False)
    for text in legend.get_texts():
        text.set_color(theme.ink)
    return figure


@default_style()
def finalists_figure(run: SearchRun, theme: Theme = LIGHT) -> Figure:
    """Predicted against measured, for every finalist: latency, and accuracy where it was evaluated."""
    panels: list[tuple[str, str, str, float]] = []
    if run.has_latency and run.finalists["measured_latency_ms"].notna().any():
        panels.append(("latency (ms)", "latency_ms", "latency_std_ms", 1.0))
    if run.finalists["measured_accuracy"].notna().any():
        panels.append((f"{run.accuracy_name} (%)", "accuracy", "accuracy_std", 100.0))
    figure = empty_figure(theme, (7.6, 3.7))
    for number, (title, column, std, scale) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        style_axes(axes, theme)
        table = run.finalists.dropna(subset=[f"measured_{column}"])
        predicted, measured = table[f"predicted_{column}"] * scale, table[f"measured_{column}"] * scale
        spread = table[f"predicted_{std}"] * scale
        vertical = None
        if column == "latency_ms":
            vertical = np.stack([measured - table["measured_p10_ms"], table["measured_p90_ms"] - measured]).clip(0)
        low = min((predicted - spread).min(), measured.min())
        high = max((predicted + spread).max(), measured.max())
        ends = np.array([low, high]) + np.array([-0.06, 0.06]) * max(high - low, 1e-9)
        axes.plot(ends, ends, color=theme.faint, linewidth=1.2, zorder=1)
        axes.errorbar(predicted, measured, xerr=spread, yerr=vertical, **_error_style(theme, VERMILION))
        chosen = table["architecture"] == run.record["architecture"]
        axes.scatter(
            predicted[chosen], measured[chosen], marker="*", s=260, color=GREEN, edgecolors=theme.ink, zorder=6
        )
        if column == "latency_ms" and (limit := run.limit("latency_ms")) is not None:
            axes.axhline(limit, color=theme.ink, linewidth=1.2, linestyle=(0, (5, 3)))
            axes.annotate("budget", (0.015, limit), xycoords=("axes fraction", "data"), color=theme.ink, va="bottom")
        axes.set_xlim(*ends)
        axes.set_xlabel(f"predicted {title}")
        axes.set_ylabel(f"measured {title}")
    return figure


@default_style()
def convergence_figure(run: SearchRun, theme: Theme = LIGHT) -> Figure:
    """The best predicted accuracy within the budget after so many candidates."""
    figure, axes = canvas(theme, (7.6, 2.7))
    axes.plot(
        run.convergence["candidates"],
        run.convergence["predicted_accuracy"] * 100,
        color=theme.front,
        linewidth=2,
        drawstyle="steps-post",
    )
    axes.set_xscale("log")
    axes.set_xlabel("networks predicted")
    axes.set_ylabel(f"best {run.accuracy_name} within\nthe budget, predicted (%)")
    return figure


def _baselines(axes: Axes, run: SearchRun, theme: Theme) -> None:
    """What one would have taken otherwise, as measured, with its accuracy on search-validation."""
    found: Any = run.record.get("baselines") or {}
    for number, network in enumerate(found.get("networks", ())):
        at, ends = network["macs"] * 1e-6, None
        if run.has_latency:
            at = network["latency_ms"]
            if at is None:
                continue
            ends = np.array([[at - network["p10_ms"]], [network["p90_ms"] - at]]).clip(0)
        axes.errorbar(
            [at],
            [network["accuracy"] * 100],
            xerr=ends,
            label=None if number else "baselines, fine-tuned and measured",
            **_error_style(theme, BLUE) | {"fmt": "D"},
        )


def _finalists_on_front(axes: Axes, run: SearchRun, theme: Theme) -> None:
    table = run.finalists
    accuracy = table["measured_accuracy"].fillna(table["predicted_accuracy"]) * 100
    measured = table["measured_latency_ms"].notna()
    for _, row in table[measured].assign(shown=accuracy[measured]).iterrows():
        axes.plot(
            [row["predicted_latency_ms"], row["measured_latency_ms"]],
            [row["predicted_accuracy"] * 100, row["shown"]],
            color=theme.ink,
            linewidth=0.6,
            alpha=0.45,
            zorder=3,
        )
    axes.errorbar(
        table["predicted_latency_ms"],
        table["predicted_accuracy"] * 100,
        xerr=table["predicted_latency_std_ms"],
        yerr=table["predicted_accuracy_std"] * 100,
        label="finalists, predicted (± 1 std)",
        **_error_style(theme, ORANGE, hollow=True),
    )
    if measured.any():
        latency = table.loc[measured, "measured_latency_ms"]
        spread = np.stack(
            [latency - table.loc[measured, "measured_p10_ms"], table.loc[measured, "measured_p90_ms"] - latency]
        )
        axes.errorbar(
            latency,
            accuracy[measured],
            xerr=spread.clip(0),
            label="finalists, measured (p10 to p90)",
            **_error_style(theme, VERMILION),
        )


def _position_of_chosen(run: SearchRun, scale: float) -> tuple[float, float]:
    measured, predicted = run.record["measured"], run.record["predicted"]
    accuracy = predicted["accuracy"] if measured["accuracy"] is None else measured["accuracy"]
    cost: float | None = run.record["costs"]["macs"] * scale
    if run.has_latency:
        cost = predicted["latency_ms"] if measured["latency_ms"] is None else measured["latency_ms"]
    return np.nan if cost is None else cost, (accuracy or 0.0) * 100


def _error_style(theme: Theme, colour: str, *, hollow: bool = False) -> dict[str, Any]:
    return {
        "fmt": "o" if hollow else "s",
        "color": colour,
        "markerfacecolor": theme.paper if hollow else colour,
        "markersize": 5.5,
        "elinewidth": 1,
        "capsize": 2,
        "zorder": 4 if hollow else 5,
    }
