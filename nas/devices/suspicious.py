"""Measurements that do not fit the others: measured again before they are left out. Milliseconds."""

import numpy as np

from nas.devices.device import Device
from nas.progress import Progress
from predictors.latency import LatencyPredictor
from search_spaces import SearchSpace

AGREE = 0.1
"""Two measurements of one network that differ by less say the same."""


def measure_suspicious_again(
    device: Device, space: SearchSpace, predictor: LatencyPredictor, progress: Progress | None = None
) -> list[str]:
    """Measure again what `predictor` left out, and keep the new latencies in the device's table.

    A network that takes as long again is marked as confirmed: no later fit leaves it out.

    Parameters
    ----------
    device, space : where `predictor` was adapted to all that the table holds.
    predictor : says which measurements are suspicious.

    Returns
    -------
    One sentence for each network that was measured again.

    Raises
    ------
    DeviceUnavailable : as of `Device.measure`.
    """
    rows = getattr(predictor, "suspicious_", np.empty(0, dtype=np.intp))
    if not len(rows) or not device.can_measure:
        return []
    population, before = predictor.measured_[rows], predictor.latency_ms_[rows]
    again = device.measure(space, population, fresh=True, progress=progress).rows
    after = again["latency_ms"].to_numpy(dtype=np.float64)
    same = np.abs(after / before - 1) < AGREE
    names = again["architecture"].to_numpy()
    device.table.confirm(space, names[same].tolist())
    sentences = []
    for name, first, second, expected, kept in zip(
        names, before, after, predictor.left_out_ms_[rows], same, strict=True
    ):
        result = "as before, so it counts" if kept else "which counts from now on"
        sentences.append(
            f"{name} took {first:.3g} ms, and by the other networks {expected:.3g} ms were expected; "
            f"measured again: {second:.3g} ms, {result}"
        )
    return sentences
