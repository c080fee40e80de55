"""Does a column called milliseconds hold milliseconds?

A factor of a thousand between units is larger than anything a device does, so a few rules find it. A network
stands within a factor of a hundred of its table's median (the same space, batch and precision); the median rate of
computing lies where silicon lies; and no runtime starts and ends a layer in less than a fraction of a microsecond.
MACs are multiply-accumulates; rates are GMAC/s.
"""

from dataclasses import dataclass
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
FASTEST_THREAD = {"float32": 200.0, "float16": 400.0, "int8": 1000.0}
"""GMAC/s of one CPU thread: above the peak of any core."""
FASTEST = 1e6
"""GMAC/s of an accelerator: 1,000 TMAC/s, the int8 peak of the largest of 2025."""
SHORTEST_LAYER_MS = 0.0005
"""Of a layer with weights, on average over a network; the shortest measured is four times longer (XNNPACK, 32 px)."""
SHORT_LAYER_MS, FAST = 0.002, 500.0
"""Layers as short as this with a rate (GMAC/s) as high as this: small layers reach no such rate on any device."""
CONSTANT_ROWS = 5
"""So many different networks do not take exactly as long as each other."""
WORK_SAMPLE = 50
"""Networks whose layers are counted."""
MICROCONTROLLER_RUNTIMES = ("tflite-micro", "cmsis-nn", "tinyengine")


@dataclass(frozen=True)
class Work:
    """What each row of a table computes for one image.

    Attributes
    ----------
    macs : multiply-accumulates.
    layers : layers with weights; NaN where they were not counted.
    """

    macs: "pd.Series[float]"
    layers: "pd.Series[float]"


def check_plausible(csv: Path, rows: pd.DataFrame, work: Work | None, card: Card) -> None:
    """Refuse a table whose latencies cannot be milliseconds.

    Parameters
    ----------
    csv : named in errors.
    rows : the validated rows, indexed by line number.
    work : what each row computes; None where no space is at hand.
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
    if work is None:
        return
    for _, group in rows.groupby(["space", "batch", "precision"]):
        if group["architecture"].nunique() >= CONSTANT_ROWS and group["latency_ms"].nunique() == 1:
            raise ValueError(
                f"{csv}: all {len(group)} networks from line {group.index[0]} on take "
                f"{group['latency_ms'].iloc[0]:g} ms, which networks of different size cannot; "
                "is latency_ms the right column?"
            )
    rate = float(np.median(work.macs * rows["batch"] / latency) / 1e6)
    layer_ms = float((latency / work.layers).median())
    slowest = SLOWEST_MICROCONTROLLER if card.runtime in MICROCONTROLLER_RUNTIMES else SLOWEST
    threads = 0 if card.runtime.endswith("cuda") else card.threads
    fastest = threads * FASTEST_THREAD.get(card.precision, max(FASTEST_THREAD.values())) or FASTEST
    if rate < slowest:
        raise ValueError(
            f"{csv}: a median rate of {rate:.2g} GMAC/s is slower than any device of this kind; "
            "latency_ms looks like microseconds, divide it by 1000"
        )
    if rate > fastest or layer_ms < SHORTEST_LAYER_MS or (layer_ms < SHORT_LAYER_MS and rate > FAST):
        raise ValueError(
            f"{csv}: a median rate of {rate:.2g} GMAC/s is faster than any device of this kind; "
            "latency_ms looks like seconds, multiply it by 1000"
        )
