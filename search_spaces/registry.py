"""The search spaces by name.

A new space is a subclass of `SearchSpace` that lists its genes and slots and gives the layers of a slot's
choice, and one function here; ``tests/search_spaces/test_conformance.py`` then holds it to what all keep to.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

from search_spaces.efficientnet_lite import efficientnet_lite0
from search_spaces.fbnet import fbnet, fbnet_imagenet
from search_spaces.hybrid import hybrid
from search_spaces.mobilenet_v3 import mobilenet_v3, mobilenet_v3_small_images
from search_spaces.mobilenet_v4 import mobilenet_v4
from search_spaces.nasbench201 import nasbench201
from search_spaces.proxylessnas import proxylessnas
from search_spaces.reparameterised import reparameterised
from search_spaces.resnet50 import resnet50
from search_spaces.space import SearchSpace
from search_spaces.traced import PREFIX, TracedSpace

SPACES: dict[str, Callable[..., SearchSpace]] = {
    "mobilenet_v3": mobilenet_v3,
    "mobilenet_v3_small_images": mobilenet_v3_small_images,
    "mobilenet_v4": mobilenet_v4,
    "hybrid": hybrid,
    "proxylessnas": proxylessnas,
    "efficientnet_lite0": efficientnet_lite0,
    "reparameterised": reparameterised,
    "resnet50": resnet50,
    "fbnet": fbnet,
    "fbnet_imagenet": fbnet_imagenet,
    "nasbench201": nasbench201,
}


def purpose(name: str) -> str:
    """What the space called `name` is and is good for, in a line: the first one of its function's docstring."""
    return (
        (inspect.getdoc(SPACES[name]) or "").partition("\n")[0] if name in SPACES else "a given network, made elastic"
    )


def get_space(name: str, **options: Any) -> SearchSpace:
    """Make the search space called `name`.

    Parameters
    ----------
    name : a key of `SPACES`, or one with strides (the stem's first) or a width multiplier or both behind it:
        ``mobilenet_v3_s112212_w1.2``; or with channels and cells, ``nasbench201_c32_n3``; or the name of a traced
        network, whose options then hold its description.
    **options : what the space lets one choose (resolutions, num_classes, ...); see its function.

    Raises
    ------
    ValueError : unknown name (lists the known ones) or unknown option.
    """
    if name not in SPACES and (widened := re.fullmatch(r"((?!traced_).+)_w(\d+(?:\.\d+)?)", name)):
        name, options = widened[1], {"width_mult": float(widened[2])} | options
    if name not in SPACES and (strided := re.fullmatch(r"((?!traced_).+)_s(\d)(\d+)", name)):
        strides = tuple(map(int, strided[3]))
        name, options = strided[1], {"stem_stride": int(strided[2]), "strides": strides} | options
    if name not in SPACES and (sized := re.fullmatch(r"(nasbench201)(?:_c(\d{1,4}))?(?:_n(\d{1,2}))?", name)):
        sizes = {"channels": sized[2], "cells": sized[3]}
        name, options = sized[1], {key: int(text) for key, text in sizes.items() if text} | options
    if name.startswith(PREFIX) and "description" not in options:
        raise ValueError(f"search space {name}: it is a traced network, known to its own weights; give it by --model")
    if name not in SPACES and not name.startswith(PREFIX):
        raise ValueError(f"unknown search space {name!r}; known: {', '.join(SPACES)}")
    try:
        return SPACES[name](**options) if name in SPACES else TracedSpace(name, **options)
    except TypeError as error:
        raise ValueError(f"search space {name}: {error}") from error
