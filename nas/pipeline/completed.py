"""A request as it is run, for the command line and Python: what was typed, and what is usual where nothing was."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nas.pipeline.check import check_evaluated, check_trained
from nas.pipeline.photographs import R, with_usual_start
from nas.pipeline.request import SearchRequest, moved_images
from nas.progress import Listener


def completed(
    request: R,
    typed: Mapping[str, str],
    images: Mapping[str, Any],
    recipe: Mapping[str, Any],
    listener: Listener,
    *,
    recorded: bool = False,
) -> R:
    """The request with what follows from what was typed.

    Parameters
    ----------
    typed : how each setting that was given is typed, by its key.
    images, recipe : settings of the images and of the recipe that were given.
    listener : is told what a training starts from where that was not said.
    recorded : it is one of a former run, which had what is usual already.

    Raises
    ------
    ValueError : a setting that was given would change nothing, or cannot work.
    """
    if isinstance(request, SearchRequest) and request.supernet is not None:
        if not recorded:
            check_trained(typed, typed.get("supernet", "supernet"))
        request = replace(request, moved_data=moved_images(request, images))
        check_evaluated(request, typed)
    if recorded:
        return request
    request, sentence = with_usual_start(request, typed, recipe)
    if sentence:
        listener.say(sentence)
    return replace(request, usual_start=sentence) if isinstance(request, SearchRequest) else request
