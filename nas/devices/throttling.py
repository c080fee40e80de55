"""Devices that slow down while they are measured: phones that grow warm, machines that get other work.

What tells is one reference network, timed in every round or beside every network: its latency should not change.
"""

import numpy as np
from numpy.typing import NDArray

from predictors.latency.slowdown import Slowdown

Floats = NDArray[np.float64]

LEAST_FACTOR = 1.15
"""Two stretches whose references differ by less are taken to be equal: that is noise."""
LEAST_STRETCH = 2
CLEAR = 4.0  # the step, in robust standard deviations of the reference around it


def find_slowdown(reference_ms: NDArray[np.float64]) -> Slowdown | None:
    """The clearest lasting step of a reference's latency, in the order of measuring; None where there is none.

    Parameters
    ----------
    reference_ms : shape (n,), latencies of the same network.
    """
    level: Floats = np.log(np.asarray(reference_ms, dtype=np.float64))
    if len(level) < 2 * LEAST_STRETCH:
        return None
    splits = range(LEAST_STRETCH, len(level) - LEAST_STRETCH + 1)
    errors = [_spread(level[:k]).sum() + _spread(level[k:]).sum() for k in splits]
    after = splits[int(np.argmin(errors))]
    step = float(np.median(level[after:]) - np.median(level[:after]))
    noise = 1.4826 * float(np.median(np.concatenate([_spread(level[:after]), _spread(level[after:])])))
    if step < np.log(LEAST_FACTOR) or step < CLEAR * noise:
        return None
    return Slowdown(after, float(np.exp(step)))


def describe_slowdown(found: Slowdown, n: int, what: str) -> str:
    """One sentence: what happened and what to do."""
    return (
        f"throttling: the device slowed down while it was measured: from {what} {found.after + 1} of {n} on, the "
        f"reference network took {found.factor:.2f} times as long; let it cool down, and measure these again"
    )


def describe_change(before_ms: float, now_ms: float) -> str | None:
    """One sentence where a session's reference differs from earlier sessions' by more than noise; else None."""
    if max(now_ms / before_ms, before_ms / now_ms) < LEAST_FACTOR:
        return None
    return (
        f"the device is not as it was: its reference network takes {now_ms:.3g} ms, in earlier sessions it took "
        f"{before_ms:.3g} ms; see what else runs there, or move its folder away and measure all networks again"
    )


def _spread(level: Floats) -> Floats:
    distance: Floats = np.abs(level - np.median(level))
    return distance
