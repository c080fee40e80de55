"""Latency on a device, from few measurements (NumPy; no torch)."""

from predictors.latency.predictor import MIN_MEASUREMENTS, LatencyPredictor
from predictors.latency.sources import Measurements

__all__ = ["MIN_MEASUREMENTS", "LatencyPredictor", "Measurements"]
