"""A trained subnet as a file that runs: ONNX or TFLite, float32 or int8, and what must be known to use it.

Every file says what it is: classes, normalisation, architecture, where it comes from. ONNX has room for that in
its metadata, TFLite too but no runtime reads it from there; so the same lies in a JSON file beside each.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas import __version__
from nas.errors import MissingExtra
from nas.export.layer_graph import Weights, check_bytes, network_layers
from nas.export.tflite_graph import check_tflite, tflite_graph
from search_spaces import Population, SearchSpace

if TYPE_CHECKING:
    from nas.supernet.subnet import Subnet

FORMATS = ("onnx", "tflite")
PRECISIONS = ("float32", "int8")
MIN_CALIBRATION_IMAGES = 16
"""Fewer show too little of the activations' ranges."""


@dataclass(frozen=True)
class FileKind:
    """What kind of file: its format and its precision.

    Raises
    ------
    ValueError : there is no such format or precision.
    """

    format: str = "onnx"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, value, known in (("format", self.format, FORMATS), ("precision", self.precision, PRECISIONS)):
            if value not in known:
                raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}, or both with a comma between")

    @property
    def suffix(self) -> str:
        """Of its file's name."""
        return f".{self.format}"

    def require(self) -> None:
        """See that what writes and runs it is installed.

        Raises
        ------
        MissingExtra : it is not.
        """
        needed = {"ai_edge_litert": "ai-edge-litert"} if self.format == "tflite" else {}
        if needed and self.precision == "int8":
            needed["ai_edge_quantizer"] = "ai-edge-quantizer"
        for module, package in needed.items():
            if find_spec(module) is None:
                raise MissingExtra(package, "tflite")

    @property
    def file_name(self) -> str:
        """``subnet.onnx``, ``subnet.int8.tflite``, ..."""
        return "subnet" + ("" if self.precision == "float32" else f".{self.precision}") + self.suffix


def file_kinds(formats: str, precisions: str) -> list[FileKind]:
    """Every combination of what was typed: ``onnx,tflite`` and ``float32,int8``.

    Raises
    ------
    ValueError : there is no such format or precision.
    """
    return list(
        dict.fromkeys(FileKind(f.strip(), p.strip()) for p in precisions.split(",") for f in formats.split(","))
    )


def check_formats(space: SearchSpace, kinds: Sequence[FileKind], networks: Population | None = None) -> None:
    """See that each kind of file can hold the networks, before anything is trained or written.

    Parameters
    ----------
    networks : genotypes; the max net at each resolution where None, which has every layer that others have.

    Raises
    ------
    ValueError : TFLite cannot express a layer (named), or a file cannot hold the weights.
    """
    if networks is None:
        column = space.resolution_column
        networks = np.repeat(space.max[None], 1 if column is None else space.n_choices[column], axis=0)
        if column is not None:
            networks[:, column] = np.arange(len(networks))
    for genotype, side in zip(networks, space.resolution(networks), strict=True):
        layers = network_layers(space, genotype)
        check_bytes(layers)
        if any(kind.format == "tflite" for kind in kinds):
            try:
                check_tflite(layers)
            except ValueError as error:
                raise ValueError(
                    f"{error} (at {side} pixels); type --format onnx, as devices that run TFLite "
                    "cannot have this network"
                ) from error


def network_file(
    subnet: "Subnet",
    kind: FileKind,
    *,
    batch: int | None = 1,
    calibration: NDArray[np.float32] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """The content of a file, batch-norm folded.

    Parameters
    ----------
    subnet : the network; its weights are taken as they are.
    kind : of file.
    batch : images an inference takes; None leaves it open in ONNX, and is 1 in TFLite.
    calibration : prepared training images, (n, 3, R, R), from which int8 learns the ranges of activations.
    metadata : see `describe`.

    Raises
    ------
    MissingExtra : what writes this kind of file is not installed.
    ValueError : too few calibration images or of another size, a batch below 1, a layer that the format cannot
        express (named).
    """
    # onnx takes a while to import, which what only asks for kinds of files does without.
    from nas.export.onnx_graph import OPSET, onnx_graph
    from nas.export.quantization import quantize_onnx, quantize_tflite

    kind.require()
    weights = _arrays(subnet)
    layers = network_layers(subnet.space, subnet.genotype)
    about = describe(subnet, metadata)
    images = np.empty(0, np.float32) if kind.precision == "float32" else _checked(calibration, subnet.resolution)
    if kind.format == "onnx":
        texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
        texts["opset"] = str(OPSET)
        model = onnx_graph(layers, weights=weights, batch=batch, metadata=texts)
        if kind.precision == "int8":
            model = quantize_onnx(model, images)
        return bytes(model.SerializeToString())

    def at_batch(n: int) -> bytes:
        return tflite_graph(layers, weights=weights, batch=n)

    texts = {"shrinkwrap-nas": json.dumps(about)}
    content = tflite_graph(layers, weights=weights, batch=1 if batch is None else batch, metadata=texts)
    return quantize_tflite(content, images, at_batch=at_batch) if kind.precision == "int8" else content


def describe(subnet: "Subnet", metadata: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a file of `subnet` says of itself.

    Parameters
    ----------
    metadata : JSON-able facts to be found there besides architecture, space, resolution, version and the
        SHA-256 of the weights: ``classes``, ``mean``, ``std``, provenance.
    """
    return dict(metadata or {}) | {
        "architecture": subnet.architecture,
        "space": subnet.space.name,
        "space_options": subnet.space.options,
        "resolution": subnet.resolution,
        "version": __version__,
        "weights_sha256": weights_sha256(_arrays(subnet)),
    }


def read_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says about itself, without loading its weights into a runtime.

    Raises
    ------
    ValueError : there is no such file, or it is not an ONNX model.
    """
    import onnx

    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except Exception as error:  # protobuf's DecodeError has no importable home that is stable
        raise ValueError(f"{path} is not an ONNX model") from error
    return {entry.key: entry.value for entry in model.metadata_props}


def weights_sha256(weights: Weights) -> str:
    """One hash of all arrays and their names, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].tobytes())
    return digest.hexdigest()


def _arrays(subnet: "Subnet") -> dict[str, NDArray[Any]]:
    return {name: tensor.detach().cpu().numpy() for name, tensor in subnet.fused().state_dict().items()}


def _checked(images: NDArray[np.float32] | None, resolution: int) -> NDArray[np.float32]:
    n = 0 if images is None else len(images)
    if images is None or n < MIN_CALIBRATION_IMAGES:
        raise ValueError(f"int8 needs at least {MIN_CALIBRATION_IMAGES} training images to calibrate on, got {n}")
    check_size(images.shape, resolution, "calibration")
    return images


def check_size(shape: Sequence[int], resolution: int, what: str) -> None:
    """See that images are (n, 3, `resolution`, `resolution`).

    Raises
    ------
    ValueError : they are not.
    """
    if tuple(shape[1:]) != (3, resolution, resolution):
        given = " x ".join(map(str, shape[1:]))
        raise ValueError(
            f"{what} images must be 3 x {resolution} x {resolution} as the network reads them, got {given}"
        )
