"""Exported files run in the runtime they are for: onnxruntime, LiteRT. Images go in as everywhere, logits come out."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.errors import MissingExtra
from nas.export.network_file import check_size

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From prepared images (n, 3, R, R) to logits (n, classes)."""


def open_file(path: Path) -> Run:
    """A function that runs images through the file, in as many batches as its input asks for.

    Raises
    ------
    MissingExtra : its runtime is not installed.
    ValueError : there is no such file, its runtime cannot read it, or (when run) images of another size.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    openers = {".onnx": _open_onnx, ".tflite": _open_tflite}
    if path.suffix not in openers:
        raise ValueError(f"{path} is no exported network; known: {', '.join(openers)}")
    return openers[path.suffix](path)


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common class of their own
        raise _unreadable(path, "onnxruntime", error) from error
    (source,) = session.get_inputs()
    side = source.shape[-1]

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        check_size(images.shape, side, path.name)
        batch = source.shape[0] if isinstance(source.shape[0], int) else len(images)
        return _by_batch(images, batch, lambda part: session.run(None, {source.name: part})[0])

    return run


def _open_tflite(path: Path) -> Run:
    try:
        litert = import_module("ai_edge_litert.interpreter")
    except ImportError:
        raise MissingExtra("ai-edge-litert", "tflite") from None
    try:
        interpreter = litert.Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise _unreadable(path, "LiteRT", error) from error
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    batch, side = int(source["shape"][0]), int(source["shape"][1])

    def infer(part: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(source["index"], _encode(part, source))
        interpreter.invoke()
        return _decode(interpreter.get_tensor(result["index"]), result)

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        check_size(images.shape, side, path.name)
        return _by_batch(images.transpose(0, 2, 3, 1), batch, infer)

    return run


def _by_batch(images: NDArray[np.float32], batch: int, infer: Run) -> NDArray[np.float32]:
    """Outputs of all `images`, `batch` at a time, the last one again where they do not fill the last batch."""
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % batch, axis=0)])
    outputs = [infer(padded[start : start + batch]) for start in range(0, len(padded), batch)]
    result: NDArray[np.float32] = np.concatenate(outputs)[: len(images)]
    return result


def _encode(values: NDArray[np.float32], tensor: dict[str, Any]) -> NDArray[Any]:
    """As the tensor wants it: integers stand for ``scale * (integer - zero_point)``."""
    if tensor["dtype"] == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    limits = np.iinfo(tensor["dtype"])
    integers: NDArray[Any] = np.clip(np.round(values / scale + zero_point), limits.min, limits.max)
    return integers.astype(tensor["dtype"])


def _decode(values: NDArray[Any], tensor: dict[str, Any]) -> NDArray[np.float32]:
    if tensor["dtype"] == np.float32:
        return values
    scale, zero_point = tensor["quantization"]
    numbers: NDArray[Any] = (values.astype(np.float32) - zero_point) * scale
    return numbers.astype(np.float32)


def _unreadable(path: Path, runtime: str, error: Exception) -> ValueError:
    return ValueError(f"{path} cannot be read by {runtime}: {' '.join(str(error).split())[:200]}")
