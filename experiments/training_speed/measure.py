"""Timing two or more pieces of work against each other on a machine that others use too.

The pieces run in turns, in an order that changes every round; a round's ratio compares times that lie seconds
apart, and the median over rounds is what is reported. Times are CPU seconds of this one-threaded process, which
leave out what it waits for others; wall-clock seconds are kept beside them.
"""

from collections.abc import Callable, Mapping
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray

Work = Callable[[int], Callable[[], None]]
"""Takes the number of a round; does what is not timed, and gives what is."""


def in_turns(works: Mapping[str, Work], rounds: int, warm_up: int = 2) -> dict[str, NDArray[np.float64]]:
    """CPU and wall-clock seconds of each piece in each round, arrays of shape ``(rounds, 2)``."""
    seconds = {name: np.zeros((rounds + warm_up, 2)) for name in works}
    names = list(works)
    for i in range(rounds + warm_up):
        for name in np.roll(names, i):
            timed = works[str(name)](i)
            cpu, wall = process_time(), perf_counter()
            timed()
            seconds[str(name)][i] = process_time() - cpu, perf_counter() - wall
    return {name: rows[warm_up:] for name, rows in seconds.items()}


def compared(name: str, work: str, other: str, seconds: Mapping[str, NDArray[np.float64]]) -> dict[str, object]:
    """One row of a table: medians of two pieces, and the median and quartiles of their ratio by round."""
    ratio = seconds[work][:, 0] / seconds[other][:, 0]
    low, middle, high = np.percentile(ratio, (25, 50, 75))
    return {
        "step": name,
        "seconds": round(float(np.median(seconds[work][:, 0])), 4),
        "compared_with": other,
        "its_seconds": round(float(np.median(seconds[other][:, 0])), 4),
        "ratio": round(float(middle), 3),
        "ratio_p25": round(float(low), 3),
        "ratio_p75": round(float(high), 3),
        "ratio_wall_clock": round(float(np.median(seconds[work][:, 1] / seconds[other][:, 1])), 3),
        "rounds": len(ratio),
    }
