"""A given network (``--model``) as it came: its accuracy, whether it teaches, and whether it stays the better max net.

It is kept beside the supernet that is trained from it (`nas.evaluation.trained.GIVEN`). Accuracy is a fraction in
[0, 1], on the search-validation split.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from nas.data import ImageData
from nas.evaluation.accuracy import confusion_on, evaluate
from nas.evaluation.confusion import standard_error
from nas.evaluation.trained import GIVEN
from nas.pipeline.given import adopted
from nas.pipeline.request import TrainRequest
from nas.progress import Listener
from nas.supernet import Subnet, Supernet, load_subnet, save_subnet, subnet_metadata
from nas.training.checkpoint import FILE as CHECKPOINT
from nas.training.classifier import fit_classifier
from nas.training.launched import is_helper

SURE = 3
"""Standard errors by which a classifier must be better than always saying the most frequent class."""
NAMED = 0.9
"""Share of the accuracy under the best names for its outputs that a classifier must have under their own: a file of
weights does not say which classes they are."""


@dataclass(frozen=True)
class Original:
    """A given network with trained weights.

    Attributes
    ----------
    subnet : in evaluation mode, with the batch-norm statistics that it came with.
    accuracy : with its own classifier where that is for these classes, else with one fitted to its features.
    own_classifier : it is its own, so that the network may teach.
    """

    subnet: Subnet
    accuracy: float
    own_classifier: bool

    def keep(self, folder: Path) -> None:
        """Write it where the supernet will be; of several processes, the first one does."""
        if is_helper():
            return
        facts = {"accuracy": self.accuracy, "own_classifier": self.own_classifier}
        save_subnet(folder / GIVEN, self.subnet, facts)


def original_network(
    request: TrainRequest, supernet: Supernet, images: ImageData, folder: Path, listener: Listener
) -> Original | None:
    """The given network, read back where its training is to go on; None where it has no trained weights.

    Parameters
    ----------
    request : with a model.
    supernet : that training begins with. A new classifier is fitted to its features.
    folder : of the training.
    """
    if (folder / CHECKPOINT).is_file():
        return _kept(folder)
    if assumed := _what_is_assumed(request):
        listener.say(assumed)
    space = supernet.space
    if adopted(request).space.num_classes == space.num_classes:
        own = supernet.extract(space.max).eval()
        counts = confusion_on(own, images.validation, images).counts
        accuracy = float(np.trace(counts) / counts.sum())
        said = f"the given network recognises {accuracy:.1%} of the search-validation images with its own classifier"
        if knows(counts):
            taught = any(p.external_share or p.target == "external" for p in request.recipe.phases)
            listener.say(f"{said}, which is kept{'; it teaches the max net' if taught else ''}")
            found = Original(own, accuracy, True)
            found.keep(folder)
            return found
        if request.starts_trained:
            listener.say(f"{said}, too few: its classes are others, or in another order")
    if not request.starts_trained:
        return None
    can_be_fitted = fit_classifier(supernet, images, device=request.accelerator, listener=listener)
    fitted = supernet.extract(space.max).eval()
    found = Original(fitted, evaluate(fitted, "validation", images), False)
    if can_be_fitted:
        done = f"a classifier for {space.num_classes} classes was fitted to the features of the given network"
    else:
        done = (
            "no classifier could be fitted to the features of the given network before training, as its scores are "
            "not linear in them"
        )
    reached = f"({found.accuracy:.1%} on search-validation)"
    listener.say(f"{done} {reached}; as its own is for others, it does not teach: labels do")
    found.keep(folder)
    return found


def _what_is_assumed(request: TrainRequest) -> str:
    """What is assumed of the given network, as nothing says it; empty where there is no such thing."""
    if not request.starts_trained:
        own = "" if request.data.mean else ", images normalised by their own mean and standard deviation"
        return (
            f"{request.model} comes without --weights, so its weights are taken for random ones: recipe "
            f"{request.recipe.name}{own}; trained weights are given by --weights FILE"
        )
    if adopted(request).normalisation is None and request.data.mean is None:
        return (
            f"images are normalised by ImageNet's mean and standard deviation, as {request.model} does not say what it "
            "expects; data.mean=[.5,.5,.5] data.std=[.5,.5,.5] would"
        )
    return ""


def knows(counts: NDArray[np.int64]) -> bool:
    """Whether a classifier is for these classes, in this order.

    Parameters
    ----------
    counts : (classes, classes), images by true and predicted class.
    """
    n, right = int(counts.sum()), int(np.trace(counts))
    most_frequent = float(counts.sum(axis=1).max()) / n
    best_names = int(counts[linear_sum_assignment(counts, maximize=True)].sum())
    better = right / n > most_frequent + SURE * float(standard_error(most_frequent, n))
    return better and right >= NAMED * best_names


def _kept(folder: Path) -> Original | None:
    path = folder / GIVEN
    if not path.is_file():
        return None
    facts = subnet_metadata(path)
    return Original(load_subnet(path).eval(), float(facts["accuracy"]), bool(facts["own_classifier"]))
