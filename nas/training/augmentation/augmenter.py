"""A recipe's list of augmentations, applied to a batch.

Everything random comes from one generator on the CPU, so that the same (seed, step) gives the same batch on every
device and in every process. Pixels are uint8 in and out.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data import ImageData
from nas.training.augmentation.colours import jitter_colors
from nas.training.augmentation.geometry import erase, flip, pad_crop, random_resized_crop
from nas.training.augmentation.mixing import cutmix, mixup
from nas.training.augmentation.policies import rand_augment, trivial_augment
from nas.training.augmentation.settings import (
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
)


class Augmenter:
    """Changes batches of training images of `data` by a list of augmentations.

    Parameters
    ----------
    augmentation : applied in this order.
    data : says how many classes there are, the mean colour, and whether images may be mirrored.
    """

    def __init__(self, augmentation: Sequence[Augmentation], data: ImageData) -> None:
        self.augmentation = augmentation
        self.n_classes = len(data.classes)
        self.may_flip = data.flip
        self.mean_colour = torch.tensor([round(255 * mean) for mean in data.mean], dtype=torch.uint8)

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Parameters
        ----------
        images : uint8 tensor of shape (n, 3, side, side).
        labels : int64 tensor of shape (n,).
        generator : on the CPU, whatever the device of `images`.

        Returns
        -------
        Images of the same kind, and labels: as given or, where images were mixed, shares of each class, (n, classes).
        """
        for entry in self.augmentation:
            if isinstance(entry, MixUp | CutMix):
                if labels.ndim == 1:
                    labels = F.one_hot(labels, self.n_classes).float()
                mix = mixup if isinstance(entry, MixUp) else cutmix
                images, labels = mix(images, labels, entry.alpha, entry.probability, generator)
            else:
                images = self._changed(entry, images, generator)
        return images, labels

    def _changed(self, entry: Augmentation, images: Tensor, generator: torch.Generator) -> Tensor:
        match entry:
            case PadCrop():
                return pad_crop(images, entry.padding, generator)
            case Flip():
                # Drawn in any case: what comes after it draws the same numbers whether mirroring is allowed or not.
                return flip(images, entry.probability if self.may_flip else 0.0, generator)
            case RandomResizedCrop():
                return random_resized_crop(images, entry.scale, entry.ratio, generator)
            case RandomErasing():
                return erase(images, entry.probability, entry.scale, entry.ratio, self.mean_colour, generator)
            case ColorJitter():
                strengths = (entry.brightness, entry.contrast, entry.saturation)
                return jitter_colors(images, *strengths, entry.hue, generator)
            case TrivialAugment():
                return trivial_augment(images, self.mean_colour, generator)
            case RandAugment():
                return rand_augment(images, entry.operations, entry.magnitude, self.mean_colour, generator)
            case _:
                raise NotImplementedError(entry.name)
