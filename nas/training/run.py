"""A training run: from settings to a folder, and from that folder back to what searches need of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from nas.data import ImageData, load_data
from nas.listener import Progress
from nas.supernet import Subnet, Supernet, calibrate_batch_norm, load_supernet
from nas.training.evaluated import EvaluatedSubnets
from nas.training.evaluation import calibration_batches
from nas.training.loop import train
from nas.training.recipe import Recipe
from predictors.accuracy import AccuracyPredictor
from search_spaces import SearchSpace, get_space


def train_supernet(
    folder: Path,
    *,
    space: Mapping[str, Any],
    data: Mapping[str, Any],
    recipe: Mapping[str, Any],
    seed: int = 0,
    threads: int | None = None,
    accelerator: str = "auto",
) -> Path:
    """Train a supernet into `folder`, or go on with the training that was begun there.

    Parameters
    ----------
    space : ``name`` and options of a search space; the number of classes follows from the data.
    data : arguments of `nas.data.load_data`.
    recipe : fields of `nas.training.Recipe`.
    seed : of weights, order, augmentation and sampled subnets; the splits have ``data["seed"]``.
    threads : CPU threads, all cores if None.
    accelerator : ``auto``, ``cpu`` or ``cuda``.

    Returns
    -------
    `folder`, with ``supernet.safetensors`` in it.

    Raises
    ------
    ValueError : something of the configuration cannot work; nothing is written then.
    """
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    recipe_made = Recipe.from_dict(recipe)
    options = {key: value for key, value in space.items() if key != "name"}
    get_space(space["name"], **options)  # a mistake in the options shows before the images are read
    images = load_data(**data)
    made = get_space(space["name"], **options | {"num_classes": len(images.classes)})
    torch.manual_seed(seed)
    train(
        Supernet(made, recipe_made.kernel_transform),
        images,
        recipe_made,
        folder,
        seed=seed,
        threads=threads,
        device=accelerator,
        about={"data_settings": _portable(data)},
    )
    return folder


@dataclass(frozen=True)
class TrainedSupernet:
    """A supernet with the images it was trained on and what is known of its subnets.

    Attributes
    ----------
    supernet : trained.
    data : split as in the training.
    evaluated : accuracy of subnets on the search-validation split, each computed once.
    files : contents of subnets' exported files by kind and genotype, for who needs them several times.
    """

    supernet: Supernet
    data: ImageData
    evaluated: EvaluatedSubnets
    files: dict[Any, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path, data: Mapping[str, Any] | None = None, storage: str | None = None) -> Self:
        """Read a finished training run.

        Parameters
        ----------
        folder : of the run.
        data : settings of the images, if they have moved; by default those of the training.
        storage : URL of a database through which workers take part in evaluating subnets.

        Raises
        ------
        ValueError : no finished supernet there, or the images are not the ones it was trained on.
        """
        if not folder.is_dir():
            raise ValueError(f"there is no supernet {str(folder)!r}; give the folder of a finished `nas train` run")
        supernet, card = load_supernet(folder)
        images = load_data(**(data or card["data_settings"]))
        if images.fingerprint != card["data"]["fingerprint"]:
            raise ValueError(
                f"the images are not the ones that {folder} was trained on; put those back, or search with --data PATH"
            )
        return cls(supernet, images, EvaluatedSubnets(supernet, images, folder, storage))

    @property
    def space(self) -> SearchSpace:
        """The supernet's search space."""
        return self.supernet.space

    def fit_accuracy(self, n: int, seed: int, progress: Progress | None = None) -> AccuracyPredictor:
        """An accuracy predictor fitted to `n` subnets: the extremes, and random ones of all sizes."""
        space = self.space
        random = space.sample(max(0, n - 2), np.random.default_rng([seed, n]), tilt=1.5)
        population = np.concatenate([np.stack([space.min, space.max]), random])
        return AccuracyPredictor(space).fit(population, self.evaluated(population, progress))

    def subnet(self, genotype: NDArray[Any]) -> Subnet:
        """The stand-alone network of `genotype`, batch-norm calibrated on training images, in evaluation mode."""
        net = self.supernet.extract(genotype)
        calibrate_batch_norm(net, calibration_batches(self.data, net.resolution))
        return net.eval()


def _portable(data: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with an absolute root, so that a later run finds the images from anywhere."""
    root = data.get("root")
    return dict(data) | ({"root": str(Path(root).expanduser().resolve())} if root else {})
