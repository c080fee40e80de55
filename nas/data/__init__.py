"""Images: found, decoded, split by seed, prepared in batches on tensors.

What needs torch is imported when it is first asked for: requests are judged without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nas.data.settings import DataSettings

if TYPE_CHECKING:
    from nas.data.dataset import BatchReader, ImageData, Split
    from nas.data.load import load_data
    from nas.data.synthetic import (
        read_calibration_images,
        read_synthetic_data,
        synthetic_data,
        write_calibration_images,
    )
    from nas.data.transforms import prepare

__all__ = [
    "BatchReader",
    "DataSettings",
    "ImageData",
    "Split",
    "load_data",
    "prepare",
    "read_calibration_images",
    "read_synthetic_data",
    "synthetic_data",
    "write_calibration_images",
]

_MODULES = {
    "dataset": ("BatchReader", "ImageData", "Split"),
    "load": ("load_data",),
    "synthetic": ("read_calibration_images", "read_synthetic_data", "synthetic_data", "write_calibration_images"),
    "transforms": ("prepare",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"nas.data.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
