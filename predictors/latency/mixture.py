"""A device as a mixture of known ones: the shares that explain what was measured on it, none of them below zero."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NOISE = 0.05  # of a measured latency, relative
EQUAL_SHARES = 1.0  # how strongly a mixture is drawn to equal shares: one device's worth of evidence


def not_negative(design: NDArray[Any], target: Floats) -> Floats:
    """Non-negative least squares."""
    from scipy.optimize import nnls

    solution: Floats = nnls(design, target)[0]
    return solution


def mixture(predicted: Floats, latency_ms: Floats) -> Floats:
    """Weights of the known devices, shape ``(devices,)``, from what each predicts of n networks ``(n, devices)``.

    Each device is first brought to the scale of the measurements; the shares are drawn to equal ones.
    """
    relative = predicted / latency_ms[:, None]
    scale = 1 / np.maximum(relative.mean(axis=0), 1e-12)
    n_devices = predicted.shape[1]
    design = np.concatenate([relative * scale / NOISE, EQUAL_SHARES * np.eye(n_devices)])
    target = np.concatenate([np.full(len(latency_ms), 1 / NOISE), np.full(n_devices, EQUAL_SHARES / n_devices)])
    weights: Floats = scale * not_negative(design, target)
    return weights
