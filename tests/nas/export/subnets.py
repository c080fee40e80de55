"""Subnets with weights as after training, small enough to export by the dozen."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.data import ImageData, prepare
from nas.export.network_file import FileKind, network_file
from nas.supernet import Subnet
from search_spaces import SearchSpace, get_space

TFLITE = pytest.mark.skipif(
    find_spec("ai_edge_litert") is None or find_spec("ai_edge_quantizer") is None,
    reason="needs the extra tflite: pip install 'shrinkwrap-nas[tflite]'",
)
ONNX = FileKind()
FORMATS = ["onnx", pytest.param("tflite", marks=TFLITE)]


def trained_like(space: SearchSpace, genotype: np.ndarray | None = None, seed: int = 0) -> Subnet:
    """A subnet whose batch-norms are not the identity, as after training."""
    torch.manual_seed(seed)
    subnet = Subnet(space, space.max if genotype is None else genotype)
    for module in subnet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return subnet.eval()


# Narrow, shallow and at few pixels: what is compared does not depend on it, and it takes a tenth of the time.
SMALL: dict[str, dict[str, Any]] = {
    "mobilenet_v3": {"resolutions": [16], "width_mult": 0.1, "depths": [1, 2], "num_classes": 10},
    "mobilenet_v3_small_images": {"resolutions": [16], "width_mult": 0.25, "depths": [1, 2]},
    "proxylessnas": {"resolutions": [16], "width_mult": 0.1, "depths": [1, 2], "num_classes": 10},
    "fbnet": {"resolutions": [16], "num_classes": 10},
    "fbnet_imagenet": {"resolutions": [32], "num_classes": 10},
    "nasbench201": {"resolutions": [8], "cells": 1, "channels": 8},
    "efficientnet_lite0": {"resolutions": [32], "num_classes": 10},
    "mobilenet_v4": {"resolutions": [16], "width_mult": 0.1, "depths": [1, 2], "num_classes": 10},
    "hybrid": {
        "resolutions": [64],
        "width_mult": 0.1,
        "depths": [1, 2],
        "attention_depths": [1, 2],
        "num_classes": 10,
    },
    "resnet50": {"resolutions": [24], "widths": [2, 4], "depths": [0, 1], "num_classes": 10},
}


def small(name: str) -> SearchSpace:
    return get_space(name, **SMALL[name])


def random_subnets(name: str, seed: int, n: int = 20) -> Iterator[Subnet]:
    """Of the small form of the space `name`."""
    space = small(name)
    for number, genotype in enumerate(space.sample(n, np.random.default_rng(seed))):
        yield trained_like(space, genotype, number)


def some_images(data: ImageData, resolution: int, n: int = 4) -> torch.Tensor:
    return prepare(data.train.images[:n], resolution, data.mean, data.std)


def write(folder: Path, subnet: Subnet, kind: FileKind = ONNX, **options: Any) -> Path:
    path = folder / kind.file_name
    path.write_bytes(network_file(subnet, kind, **options))
    return path
