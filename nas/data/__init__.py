"""Images: decoded once, split once by seed, prepared in batches on tensors."""

from nas.data.dataset import ImageData, Split
from nas.data.load import load_data
from nas.data.synthetic import read_calibration_images, synthetic_data, write_calibration_images
from nas.data.transforms import prepare

__all__ = [
    "ImageData",
    "Split",
    "load_data",
    "prepare",
    "read_calibration_images",
    "synthetic_data",
    "write_calibration_images",
]
