"""The figure of a fitted device: every measured network against its prediction from all the others."""

import numpy as np
from numpy.typing import NDArray

from nas.report.drawing import BLUE, LIGHT, Figure, Theme, canvas, default_style

Floats = NDArray[np.float64]


@default_style()
def held_out_figure(
    measured_ms: Floats, predicted_ms: Floats, std_ms: Floats, title: str, theme: Theme = LIGHT
) -> Figure:
    """Predicted (with one standard deviation) against measured latency, and the band of 10 %.

    Parameters
    ----------
    measured_ms, predicted_ms, std_ms : each of shape (n,), in milliseconds.
    title : above the axes.
    """
    figure, axes = canvas(theme, (5.6, 5.0))
    low = min(measured_ms.min(), (predicted_ms - std_ms).min())
    high = max(measured_ms.max(), (predicted_ms + std_ms).max())
    ends = np.array([max(0.0, low - 0.05 * (high - low)), high + 0.05 * (high - low)])
    axes.fill_between(ends, 0.9 * ends, 1.1 * ends, color=theme.faint, alpha=0.35, linewidth=0, label="within 10 %")
    axes.plot(ends, ends, color=theme.faint, linewidth=1.2)
    axes.errorbar(
        measured_ms,
        predicted_ms,
        yerr=std_ms,
        fmt="o",
        color=BLUE,
        markersize=5,
        elinewidth=1,
        label="held-out network",
    )
    axes.set_xlim(*ends)
    axes.set_ylim(*ends)
    axes.set_xlabel("measured latency (ms)")
    axes.set_ylabel("predicted from the others (ms)")
    axes.set_title(title, color=theme.ink, fontsize=10.5, parse_math=False)
    axes.legend(frameon=False, labelcolor=theme.ink, loc="upper left", fontsize=9.5)
    return figure
