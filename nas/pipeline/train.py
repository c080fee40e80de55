"""Training a supernet from settings, into a folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.data import ImageData, load_data
from nas.evaluation.accuracy import confusion_on
from nas.evaluation.confusion import imbalance_remarks
from nas.pipeline.given import adopted, normalisation, space_to_train, supernet_to_train
from nas.pipeline.initial import initial_classes, trained_before, trained_before_remarks, trained_on
from nas.pipeline.original import knows, original_network
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.progress import SILENT, Listener
from nas.search.objectives import ACCURACIES, accuracy_of
from nas.supernet import Supernet
from nas.training import train
from nas.training.checkpoint import FILE as CHECKPOINT
from nas.training.classifier import fit_classifier
from nas.training.duration import show_duration
from nas.training.launched import is_helper


def train_supernet(request: TrainRequest, folder: Path, listener: Listener = SILENT) -> Path:
    """Train a supernet into `folder`, or go on with the training that was begun there.

    Parameters
    ----------
    request : what is asked for. Its seed is that of weights, order, augmentation and sampled subnets; the splits have
        their own. A resolution of the images is also that of the space.
    listener : receives messages and progress.

    Returns
    -------
    `folder`, with ``supernet.safetensors`` in it.

    Raises
    ------
    ValueError : the images cannot be read as asked; nothing is written then.
    """
    judged = space_to_train(request)
    for note in adopted(request).notes if request.model is not None else ():
        listener.say(note)
    images = load_data(request.data, listener, int(judged.resolution(judged.max)[0]))
    objective = accuracy_of(request.objective) if isinstance(request, SearchRequest) else ACCURACIES[0]
    counts, balanced = images.class_counts["train"].tolist(), request.recipe.balance_classes
    for remark in imbalance_remarks(counts, images.classes, objective, balanced):
        listener.say(remark)
    found = {"resolution": images.resolution, "value_range": images.value_range and list(images.value_range)}
    about: dict[str, Any] = {"data_settings": request.data.portable() | found}
    if request.init is not None:
        known = trained_on(request.init, images)
        images = replace(images, trained_before=tuple(sorted(known)))
        if before := trained_before(known, images):
            about["trained_before"] = before
            listener.say(f"careful: {trained_before_remarks(before, images)[0]}")
    expected = normalisation(request)
    if expected is not None:
        images = replace(images, mean=expected[0], std=expected[1])
    made = space_to_train(request, len(images.classes))
    supernet = supernet_to_train(request, made)
    original = None
    if request.model is not None:
        original = original_network(request, supernet, images, folder, listener)
    elif request.init is not None and not (folder / CHECKPOINT).is_file():
        _start_classifier(request, request.init, supernet, images, listener)
    about["starts_trained"] = request.starts_trained or original is not None
    recipe = request.recipe
    if request.init is not None:  # the weights say whether they have these matrices
        recipe = replace(recipe, kernel_transform=supernet.kernel_transform)
    trained = train(
        supernet,
        images,
        recipe,
        folder,
        seed=request.seed,
        threads=request.threads,
        device=request.accelerator,
        about=about,
        teacher=original.subnet if original is not None and original.own_classifier else None,
        train_time=request.train_time,
        listener=listener,
    )
    if not is_helper():
        listener.say(f"trained in {show_duration(trained.seconds)}")
    return folder


def _start_classifier(
    request: TrainRequest, init: str, supernet: Supernet, images: ImageData, listener: Listener
) -> None:
    """Keep the classifier that the weights came with where it is for these classes, else fit a new one; say which."""
    classes = initial_classes(init)
    if isinstance(classes, int):
        kept = classes == len(images.classes) and _knows(supernet, images)
    else:
        kept = classes == list(images.classes)
    if kept:
        listener.say(f"the classifier of {init} is for these classes and is kept")
    elif fit_classifier(supernet, images, device=request.accelerator, listener=listener):
        listener.say(f"a classifier for {len(images.classes)} classes was fitted to the features of {init}")


def _knows(supernet: Supernet, images: ImageData) -> bool:
    net = supernet.extract(supernet.space.max).eval()
    return knows(confusion_on(net, images.validation, images).counts)
