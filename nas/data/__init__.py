"""Images: decoded once, split once by seed, prepared in batches on tensors."""

from nas.data.dataset import ImageData, Split
from nas.data.load import load_data
from nas.data.stand_in import read_sheet, stand_in_data, write_sheet
from nas.data.transforms import augment, prepare

__all__ = ["ImageData", "Split", "augment", "load_data", "prepare", "read_sheet", "stand_in_data", "write_sheet"]
