"""What runs networks on a device, and the file each runtime wants.

A runtime here is its name, its precisions and a way to write a network for it; how it is run is the agent's
business (`nas/devices/agent.py`), which needs nothing else of this package. Runtimes rank networks differently
(a 7x7 depthwise layer costs XNNPACK twenty times a 5x5 one, onnxruntime hardly more), so each is a device.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import MissingExtra
from nas.export.layer_graph import network_layers
from nas.export.ncnn_graph import ncnn_graph
from nas.export.network_file import FORMATS, PRECISIONS, FileKind
from nas.export.tflite_graph import tflite_graph
from search_spaces import SearchSpace

WriteModel = Callable[[SearchSpace, NDArray[Any], int], bytes]
"""(space, genotype, batch): the network with random weights, as the content of a file."""


@dataclass(frozen=True)
class Runtime:
    """A runtime.

    Attributes
    ----------
    suffix : of its model files.
    precisions : those it can run here, each with the way to write a network for it.
    package, module : what must be installed where it runs.
    extra : of this project, that installs it; empty where it is always there.
    one_image : precisions in which it runs one image at a time.
    """

    suffix: str
    precisions: dict[str, WriteModel]
    package: str
    module: str
    extra: str = ""
    one_image: tuple[str, ...] = ()

    def require(self) -> None:
        """See that it is installed here.

        Raises
        ------
        MissingExtra : it is not.
        """
        if find_spec(self.module) is None:
            raise MissingExtra(self.package, self.extra)


# onnx is imported where it is used: an infeasible budget is to be answered within a second.
def _onnx(space: SearchSpace, genotype: NDArray[Any], batch: int) -> bytes:
    from nas.export.onnx_graph import onnx_graph

    return bytes(onnx_graph(network_layers(space, genotype), batch=batch).SerializeToString())


def _onnx_int8(space: SearchSpace, genotype: NDArray[Any], batch: int) -> bytes:
    from nas.export.onnx_graph import onnx_graph
    from nas.export.quantization import quantize_onnx

    model = onnx_graph(network_layers(space, genotype), batch=batch)
    return bytes(quantize_onnx(model, _noise(space, genotype)).SerializeToString())


def _tflite(space: SearchSpace, genotype: NDArray[Any], batch: int) -> bytes:
    return tflite_graph(network_layers(space, genotype), batch=batch)


def _tflite_int8(space: SearchSpace, genotype: NDArray[Any], batch: int) -> bytes:
    from nas.export.quantization import quantize_tflite

    if batch != 1:
        raise ValueError("int8 TFLite networks are measured at batch 1")
    return quantize_tflite(tflite_graph(network_layers(space, genotype)), _noise(space, genotype))


def _ncnn(space: SearchSpace, genotype: NDArray[Any], batch: int) -> bytes:
    if batch != 1:
        raise ValueError("ncnn runs one image at a time; measure at batch 1")
    text, weights = ncnn_graph(network_layers(space, genotype))
    return text.encode() + b"\0" + weights


def _subnet(space: SearchSpace, genotype: NDArray[Any], batch: int) -> bytes:
    card = {"space": space.name, "options": space.options, "architecture": space.format(genotype), "batch": batch}
    return json.dumps(card).encode()


def _noise(space: SearchSpace, genotype: NDArray[Any]) -> NDArray[np.float32]:
    """Calibration images for random weights: their ranges do not change the latency."""
    (side,) = space.resolution(genotype)
    return np.random.default_rng(0).standard_normal((2, 3, side, side), dtype=np.float32)


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": Runtime(".onnx", {"float32": _onnx, "int8": _onnx_int8}, "onnxruntime", "onnxruntime"),
    "onnxruntime-cuda": Runtime(".onnx", {"float32": _onnx}, "onnxruntime-gpu", "onnxruntime"),
    "litert": Runtime(
        ".tflite", {"float32": _tflite, "int8": _tflite_int8}, "ai-edge-litert", "ai_edge_litert", "tflite", ("int8",)
    ),
    "openvino": Runtime(
        ".onnx", {"float32": _onnx, "float16": _onnx, "int8": _onnx_int8}, "openvino", "openvino", "runtimes"
    ),
    "ncnn": Runtime(".ncnn", {"float32": _ncnn, "float16": _ncnn}, "ncnn", "ncnn", "runtimes", ("float32", "float16")),
    "pytorch": Runtime(".json", {"float32": _subnet}, "torch", "torch"),
    "pytorch-compiled": Runtime(".json", {"float32": _subnet}, "torch", "torch"),
    "pytorch-cuda": Runtime(".json", {"float32": _subnet, "float16": _subnet}, "torch", "torch"),
}


PUBLISHED = {"TFLite": "litert"}
"""Runtimes by the names that they have beside published latencies."""


def file_precision(precision: str) -> str:
    """That of the file for a device of this precision: what computes in float16 reads float32."""
    return "float32" if precision == "float16" else precision


def file_kind(runtime: str, precision: str) -> FileKind | None:
    """The kind of file that is exported for a runtime; None where its files are only for measuring."""
    found, written = RUNTIMES.get(PUBLISHED.get(runtime, runtime)), file_precision(precision)
    name = found.suffix.removeprefix(".") if found is not None else ""
    return FileKind(name, written) if name in FORMATS and written in PRECISIONS else None
