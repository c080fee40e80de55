"""Does a column called milliseconds hold milliseconds?

A factor of a thousand between units is larger than anything a device does, so two rules find it. A network
stands within a factor of a hundred of its table's median (the same space, batch and precision); and the median
rate of computing lies where silicon lies. MACs are multiply-accumulates; rates are GMAC/s.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latency_tables.card import Card

LARGEST_RATIO = 100.0
"""Of a latency to the median of its table. Real spaces span less than 30 in all."""
SLOWEST = 0.05
"""GMAC/s. The slowest computers that run a deep-learning runtime (a first Raspberry Pi, PyTorch's overhead on
tiny nets) do more; microseconds read as milliseconds turn a phone's 4 into 0.004."""
SLOWEST_MICROCONTROLLER = 1e-4
FASTEST_THREAD = 1000.0
"""GMAC/s of one CPU thread: above the int8 peak of any core."""
FASTEST = 1e6
"""GMAC/s of an accelerator: 1,000 TMAC/s, the int8 peak of the largest of 2025."""
MICROCONTROLLER_RUNTIMES = ("tflite-micro", "cmsis-nn", "tinyengine")


def check_plausible(csv: Path, rows: pd.DataFrame, macs: "pd.Series[float] | None", card: Card) -> None:
    """Refuse a table whose latencies cannot be milliseconds.

    Parameters
    ----------
    csv : named in errors.
    rows : the validated rows, indexed by line number.
    macs : multiply-accumulates of one image for each row; None where no space is at hand.
    card : threads and runtime bound what is possible.

    Raises
    ------
    ValueError : says which line or which rate gives it away.
    """
    latency = rows["latency_ms"]
    median: pd.Series[Any] = rows.groupby(["space", "batch", "precision"])["latency_ms"].transform("median")
    ratio = np.exp(np.abs(np.log(latency.to_numpy() / median.to_numpy())))
    row = int(ratio.argmax())
    if ratio[row] > LARGEST_RATIO:
        raise ValueError(
            f"{csv}, line {rows.index[row]}: {latency.iloc[row]:g} ms beside a median of {median.iloc[row]:g} ms in "
            "the same table; is it another unit?"
        )
    if macs is None:
        return
    rate = float(np.median(macs * rows["batch"] / latency) / 1e6)
    slowest = SLOWEST_MICROCONTROLLER if card.runtime in MICROCONTROLLER_RUNTIMES else SLOWEST
    fastest = FASTEST_THREAD * card.threads if card.threads else FASTEST
    if rate < slowest:
        raise ValueError(
            f"{csv}: a median rate of {rate:.2g} GMAC/s is slower than any device of this kind; "
            "latency_ms looks like microseconds, divide it by 1000"
        )
    if rate > fastest:
        raise ValueError(
            f"{csv}: a median rate of {rate:.2g} GMAC/s is faster than any device of this kind; "
            "latency_ms looks like seconds, multiply it by 1000"
        )
