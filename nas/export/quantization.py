"""Static int8: weights by output channel, activations by tensor, ranges from calibration images.

What each runtime's own tools make of a float model is what its users deploy, so these tools do the work:
onnxruntime's (QDQ form, unsigned activations: signed ones are slow on x86) and AI Edge Quantizer for TFLite.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from latency_tables.scratch import scratch_folder
from nas.errors import MissingExtra
from nas.export.onnx_graph import INPUT
from nas.export.tflite_graph import SIGNATURE

CALIBRATION_PIXELS = 1 << 19
"""In a batch: all activations of a batch are kept, about a kilobyte for each pixel."""


def quantize_onnx(model: onnx.ModelProto, images: NDArray[np.float32]) -> onnx.ModelProto:
    """The int8 form of a float32 model made by `nas.export.onnx_graph`.

    Parameters
    ----------
    model : of any batch size.
    images : prepared calibration images, (n, 3, R, R).
    """
    from onnxruntime import quantization

    metadata = {entry.key: entry.value for entry in model.metadata_props}
    with scratch_folder() as scratch, _Quiet():
        source, result = scratch / "float.onnx", scratch / "int8.onnx"
        onnx.save(model, source)  # given the model itself, the tool would empty it
        # The usual pre-processing (folding, shapes) has been done by the graph's builder.
        quantization.quantize_static(
            source,
            result,
            _Reader(_feeds(model, images)),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
        quantized = onnx.load(result)
    onnx.helper.set_model_props(quantized, metadata | {"precision": "int8"})
    return quantized


@dataclass
class _Reader:
    """What onnxruntime calls a CalibrationDataReader: one feed after another, then None."""

    feeds: Iterator[dict[str, NDArray[np.float32]]]

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.feeds, None)


def _feeds(model: onnx.ModelProto, images: NDArray[np.float32]) -> Iterator[dict[str, NDArray[np.float32]]]:
    batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    for start in range(0, len(images), batch):
        yield {INPUT: np.resize(images[start : start + batch], (batch, *images.shape[1:]))}


def quantize_tflite(
    content: bytes, images: NDArray[np.float32], *, at_batch: Callable[[int], bytes] | None = None
) -> bytes:
    """The int8 form (input and output too) of a float32 file made by `nas.export.tflite_graph`.

    Parameters
    ----------
    content : the file.
    images : prepared calibration images, (n, 3, R, R) as everywhere; they are turned channels-last here.
    at_batch : the same network at another batch size: with it, calibration takes a seventh of the time.

    Raises
    ------
    MissingExtra : AI Edge Quantizer is not installed.
    """
    try:
        quantizer, recipe = import_module("ai_edge_quantizer.quantizer"), import_module("ai_edge_quantizer.recipe")
    except ImportError:
        raise MissingExtra("ai-edge-quantizer", "tflite") from None
    n = 1 if at_batch is None else min(len(images), max(1, CALIBRATION_PIXELS // images[0, 0].size))
    with _Quiet():
        calibrated = content if at_batch is None else at_batch(n)
        tool = quantizer.Quantizer(calibrated, recipe.static_wi8_ai8())
        ranges: dict[str, Any] = {}
        for start in range(0, len(images), n):
            # One call a batch: within it the tool takes the true minimum and maximum, over several calls it would
            # average them and cut off what is rare.
            batch = np.resize(images[start : start + n], (n, *images.shape[1:])).transpose(0, 2, 3, 1)
            found = tool.calibrate({SIGNATURE: [{INPUT: batch}]}, num_threads=1)
            ranges = {name: _widest(ranges.get(name), range_) for name, range_ in found.items()}
        tool = quantizer.Quantizer(content, recipe.static_wi8_ai8())
        ranges = {name: _not_empty(range_) for name, range_ in ranges.items()}
        result = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(result.quantized_model)


def _widest(known: Any, found: Any) -> Any:
    if known is None or not {"min", "max"} <= set(found):
        return found
    return {**found, "min": np.minimum(known["min"], found["min"]), "max": np.maximum(known["max"], found["max"])}


def _not_empty(range_: Any) -> Any:
    """A tensor of nothing but zeros gets a scale too: at that of its range, 0, the next layer's bias would overflow."""
    if not {"min", "max"} <= set(range_) or np.any(range_["min"]) or np.any(range_["max"]):
        return range_
    return {**range_, "max": np.ones_like(range_["max"])}


class _Quiet:
    """Keeps the tools' warnings, progress bars and log lines away; errors come through."""

    def __enter__(self) -> None:
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        self.stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        self.stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        self.level = logging.root.manager.disable
        logging.disable(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        logging.disable(self.level)
        self.stack.close()
