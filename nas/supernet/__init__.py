"""Elastic networks of a search space, and the stand-alone networks taken out of them."""

from nas.supernet.calibration import calibrate_batch_norm
from nas.supernet.once_for_all import from_once_for_all
from nas.supernet.storage import load_subnet, load_supernet, save_subnet, save_supernet, subnet_metadata
from nas.supernet.subnet import Subnet
from nas.supernet.supernet import Supernet

__all__ = [
    "Subnet",
    "Supernet",
    "calibrate_batch_norm",
    "from_once_for_all",
    "load_subnet",
    "load_supernet",
    "save_subnet",
    "save_supernet",
    "subnet_metadata",
]
