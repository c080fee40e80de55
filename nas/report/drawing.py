"""How figures look: themes, an empty figure, a PNG file.

Figures are objects on the Agg canvas, without pyplot. Whatever the user's environment says of matplotlib (a backend
that a notebook left in ``MPLBACKEND``, a style in a matplotlibrc file) changes nothing. Colours are Okabe and Ito's
(https://jfly.uni-koeln.de/color/), which colour-blind readers can tell apart; marks differ in shape as well.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

# Importing matplotlib fails where this names a backend that is not there.
_BACKEND = None if "matplotlib" in sys.modules else os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
finally:
    if _BACKEND is not None:
        os.environ["MPLBACKEND"] = _BACKEND
if _BACKEND:
    with suppress(ValueError):  # read by that import alone, and the figures of a notebook need it
        matplotlib.rcParams["backend"] = _BACKEND

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

__all__ = [
    "BLUE",
    "DARK",
    "GREEN",
    "LIGHT",
    "ORANGE",
    "VERMILION",
    "Axes",
    "Figure",
    "Theme",
    "canvas",
    "default_style",
    "empty_figure",
    "png",
    "style_axes",
]

BLUE, ORANGE, VERMILION, GREEN = "#0072B2", "#E69F00", "#D55E00", "#009E73"


@dataclass(frozen=True)
class Theme:
    """Ink, paper and what lies between."""

    ink: str
    paper: str
    faint: str
    dots: str
    front: str


LIGHT = Theme(ink="#1f2328", paper="#ffffff", faint="#c9ced4", dots="#b4bbc3", front=BLUE)
DARK = Theme(ink="#e6e9ec", paper="#1b1f24", faint="#4b535c", dots="#727d88", front="#56B4E9")


@contextmanager
def default_style() -> Iterator[None]:
    """Matplotlib's own settings instead of the user's, while figures are made and written."""
    with matplotlib.rc_context({k: v for k, v in matplotlib.rcParamsDefault.items() if "backend" not in k}):
        yield


def empty_figure(theme: Theme, size: tuple[float, float]) -> Figure:
    """A figure of `size` inches without axes."""
    figure = Figure(figsize=size, facecolor=theme.paper, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@default_style()
def png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure as a PNG file; equal figures give equal bytes."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()


def canvas(theme: Theme, size: tuple[float, float]) -> tuple[Figure, Axes]:
    """An empty figure of `size` inches with one styled set of axes."""
    figure = empty_figure(theme, size)
    axes = figure.add_subplot()
    style_axes(axes, theme)
    return figure, axes


def style_axes(axes: Axes, theme: Theme) -> None:
    """Colours, grid and frame of `axes`."""
    axes.set_facecolor(theme.paper)
    axes.grid(color=theme.faint, linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink, labelsize=9.5)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
