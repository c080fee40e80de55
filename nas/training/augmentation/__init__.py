"""How training images are changed, as part of a recipe: a list of augmentations by name, each with its parameters.

`settings` says what there is and what each parameter means; `augmenter` applies a list to a batch. Nothing heavy is
imported here.
"""

from nas.training.augmentation.settings import (
    AUGMENTATIONS,
    Augmentation,
    ColorJitter,
    CutMix,
    Flip,
    MixUp,
    PadCrop,
    RandAugment,
    RandomErasing,
    RandomResizedCrop,
    TrivialAugment,
    read_augmentation,
)

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "ColorJitter",
    "CutMix",
    "Flip",
    "MixUp",
    "PadCrop",
    "RandAugment",
    "RandomErasing",
    "RandomResizedCrop",
    "TrivialAugment",
    "read_augmentation",
]
