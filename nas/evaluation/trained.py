"""A trained supernet with its images: what searches, workers and test evaluations read of a training run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from latency_tables.files import shown
from nas.data import DataSettings, ImageData, load_data, read_synthetic_data
from nas.data.dataset import OFTEN_OTHERS_BY
from nas.data.depth import deciding
from nas.evaluation.accuracy import calibration_batches
from nas.evaluation.cache import EvaluatedSubnets
from nas.evaluation.confusion import imbalance_remarks
from nas.progress import SILENT, Listener
from nas.search.objectives import check_objective
from nas.shipped import CALIBRATION_IMAGES_FILE, CARD, find_supernet
from nas.supernet import Subnet, Supernet, calibrate_batch_norm, load_subnet, load_supernet, subnet_metadata
from search_spaces import SearchSpace

GIVEN = "given.safetensors"
"""In the folder of a training: the given network that it started from, as it came."""


@dataclass(frozen=True)
class TrainedSupernet:
    """A supernet with the images it was trained on and what is known of its subnets.

    Attributes
    ----------
    supernet : trained.
    data : split as in the training, or synthesised images in their place.
    evaluated : accuracy of subnets on the search-validation split, each computed once.
    files : contents of subnets' exported files by kind and genotype, kept since some are needed several times.
    card : what travels with the weights; of a shipped supernet also ``subnets``, some with their test accuracy.
    given : the given network as it came, where it is better than the max net trained from it; then it takes the max
        net's place, batch-norm statistics included.
    """

    supernet: Supernet
    data: ImageData
    evaluated: EvaluatedSubnets
    files: dict[Any, bytes] = field(default_factory=dict, repr=False, compare=False)
    card: Mapping[str, Any] = field(default_factory=dict)
    given: Subnet | None = None

    @classmethod
    def open(
        cls,
        given: str | Path,
        data: Mapping[str, Any] | None = None,
        storage: str | None = None,
        *,
        objective: str = "accuracy",
        notes: Path | None = None,
        listener: Listener = SILENT,
    ) -> Self:
        """Read a finished training run.

        Parameters
        ----------
        given : the run's folder, or the name of a shipped supernet.
        data : settings of the images, if they have moved; by default those of the training, or the synthesised
            images that come with a shipped supernet.
        storage : URL of a database through which workers take part in evaluating subnets.
        objective : what subnets are evaluated by, ``accuracy`` or ``balanced_accuracy``.
        notes : folder where evaluated accuracies are kept; the run's own unless the supernet is a shipped one.
        listener : is told of the images, and when the database is waited for.

        Raises
        ------
        ValueError : no finished supernet there, or the images are not the ones it was trained on.
        """
        folder = find_supernet(given)
        supernet, card = load_supernet(folder)
        calibration_file = folder / CALIBRATION_IMAGES_FILE
        stands_in = data is None and calibration_file.is_file()
        _require(card, folder, ("data", *(("classes", "mean", "std") if stands_in else ("data_settings",))))
        if stands_in:
            if check_objective(objective) != "accuracy":
                raise ValueError(
                    f"objective={objective} needs labelled images, and those of {given} do not come with it; "
                    f"type --supernet {given} --data PATH"
                )
            _require(card["data"], folder, ("name", "resolution"), "data.")
            images = read_synthetic_data(calibration_file, card)
            return cls(supernet, images, EvaluatedSubnets(supernet, images, folder), card=card)
        settings = DataSettings.from_dict(card["data_settings"] | dict(data or {}))
        # Trained weights that a training started from may expect other numbers than those of its images.
        expected = (tuple(card["mean"]), tuple(card["std"])) if {"mean", "std"} <= card.keys() else None
        if None not in (settings.mean, expected) and (settings.mean, settings.std) != expected:
            raise ValueError(
                f"data.mean and data.std belong to a training, and {given} was trained with others; leave them out, or "
                "leave --supernet out to train with them"
            )
        images = load_data(settings, listener)
        for remark in _about_classes(images, objective, card):
            listener.say(remark)
        if images.fingerprint != card["data"]["fingerprint"]:
            raise ValueError(_other_images(given, card, images, settings))
        if expected is not None:
            images = replace(images, mean=expected[0], std=expected[1])
        # A shipped folder is not written to: its accuracies belong to the images it was made with.
        kept = notes if calibration_file.is_file() else folder
        better = load_subnet(folder / GIVEN).eval() if _stays_better(folder, card) else None
        evaluated = EvaluatedSubnets(
            supernet, images, folder, storage, given=better, objective=objective, notes=kept, listener=listener
        )
        return cls(supernet, images, evaluated, card=card, given=better)

    @classmethod
    def of_search(cls, record: Mapping[str, Any]) -> Self:
        """The supernet of a finished search, with the images that it had.

        Raises
        ------
        ValueError : as of `open`, or the images are not where the search had them.
        """
        moved = record.get("moved_data")
        root = (moved or {}).get("root")
        if isinstance(root, str) and not Path(root).is_dir():
            raise ValueError(
                f"the images of that search are not in {shown(root, 1_000)} any more; say where they are, which trains "
                "nothing again: nas search --resume RUN --data FOLDER"
            )
        return cls.open(record["supernet"], moved, objective=record.get("objective") or "accuracy")

    @property
    def space(self) -> SearchSpace:
        """The supernet's search space."""
        return self.supernet.space

    def remarks(self, genotype: NDArray[Any]) -> list[str]:
        """What is to be said of a network's accuracy where there are no labelled images; nothing where there are."""
        if self.data.labelled:
            return []
        macs = int(self.space.costs(genotype[None]).macs[0])
        if len(self.card.get("subnets", ())) < 2:
            return ["Accuracy on the test split is not known: the images do not come with the supernet."]
        sizes = sorted(self.card["subnets"], key=lambda subnet: abs(log(subnet["macs"] / macs)))[:2]
        like = " and ".join(
            f"{subnet['test_accuracy']:.1%} ({subnet['macs'] / 1e6:.1f} M MACs)"
            for subnet in sorted(sizes, key=lambda subnet: subnet["macs"])
        )
        return [
            f"The images of {self.data.name} do not come with the supernet: batch-norm was calibrated on "
            f"{len(self.data.train)} synthesised images, as it was for the {len(self.evaluated.known)} networks that "
            "the accuracy predictor knows, which were evaluated on real images when the supernet was made.",
            f"Accuracy on the test split is not known of this very network; networks of its size reach {like} there.",
            *self._about_the_original(),
        ]

    def _about_the_original(self) -> list[str]:
        """What accuracies are to be compared with, where the supernet was made of a trained network."""
        if "original" not in self.card:
            return []
        original = self.card["original"]
        return [
            f"Compare with {original['title']}: it reaches {original['validation']:.1%} on the same search-validation "
            f"images and {original['test']:.1%} on the same test images; {original['published']:.1%} is what was "
            "published of it, on other images."
        ]

    def about_classes(self) -> list[str]:
        """A sentence where the classes of the training images are far from equal."""
        return _about_classes(self.data, self.evaluated.objective, self.card) if self.data.labelled else []

    def subnet(self, genotype: NDArray[Any]) -> Subnet:
        """The stand-alone network of `genotype`, batch-norm calibrated on training images, in evaluation mode."""
        if self.given is not None and self.given.architecture == self.space.format(genotype):
            return self.given
        net = self.supernet.extract(genotype)
        calibrate_batch_norm(net, calibration_batches(self.data, net.resolution, next(net.parameters()).device))
        return net.eval()


def _about_classes(images: ImageData, objective: str, card: Mapping[str, Any]) -> list[str]:
    balanced = bool(card.get("recipe", {}).get("balance_classes"))
    return imbalance_remarks(images.class_counts["train"].tolist(), images.classes, objective, balanced)


def given_network(folder: Path) -> dict[str, Any]:
    """What is known of the given network that a training started from; empty where there was none."""
    return subnet_metadata(folder / GIVEN) if (folder / GIVEN).is_file() else {}


def _stays_better(folder: Path, card: Mapping[str, Any]) -> bool:
    """Whether the given network is more accurate on search-validation than the max net that was trained from it."""
    given, trained = given_network(folder), card.get("validation", {}).get("max")
    return bool(given) and trained is not None and float(given["accuracy"]) > trained


def _require(card: Mapping[str, Any], folder: Path, names: Sequence[str], prefix: str = "") -> None:
    """Refuse a supernet that says too little of its images."""
    if missing := [name for name in names if name not in card]:
        raise ValueError(
            f"{folder / CARD}: card.{prefix}{missing[0]} is missing, so its images cannot be found; nas train writes it"
        )


def _other_images(given: str | Path, card: Mapping[str, Any], images: ImageData, settings: DataSettings) -> str:
    """What is to be said where images are not those of a training."""
    splits = {"train": images.train, "validation": images.validation, "test": images.test}
    now, then = {name: len(split) for name, split in splits.items()}, card["data"].get("sizes")
    what = "their contents, classes or splits differ"
    if then is not None and then != now:
        what = f"it had {sum(then.values()):,} images, now there are {sum(now.values()):,}"
    if deciding(images.value_range) != deciding(card["data_settings"].get("value_range")):
        done = "leave that out" if settings.value_range else "train anew: nas train --data PATH"
        return (
            f"{given} was trained with other values of its pictures of 16 bits and more as black and white than are "
            f"taken now (data.value_range); {done}"
        )
    if settings.memory_gb != card["data_settings"].get("memory_gb"):
        return (
            f"the images are not the ones that {given} was trained on: {what}, {OFTEN_OTHERS_BY}; leave data.memory_gb "
            "out, or type the one of the training"
        )
    return (
        f"the images are not the ones that {given} was trained on: {what}; put those back, or train anew: "
        "nas train --data PATH, or nas search --data PATH without --supernet"
    )
