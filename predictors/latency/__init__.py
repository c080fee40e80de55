"""Latency on a device, from few measurements (NumPy; no torch)."""

from predictors.latency.predictor import LatencyPredictor
from predictors.latency.sources import Measurements

__all__ = ["LatencyPredictor", "Measurements"]
