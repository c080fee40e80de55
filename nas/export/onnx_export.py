"""A trained subnet as an ONNX file that says what it is: architecture, classes, normalisation."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from latency_tables.files import atomic_path
from nas import __version__
from nas.export.layer_graph import Weights, network_layers
from nas.export.onnx_graph import onnx_graph

if TYPE_CHECKING:
    from nas.supernet.subnet import Subnet


def export_onnx(
    subnet: "Subnet", path: Path, *, batch: int | None = 1, metadata: Mapping[str, Any] | None = None
) -> onnx.ModelProto:
    """Write `subnet` to `path`, atomically, batch-norm folded.

    Parameters
    ----------
    subnet : the network; its weights are taken as they are.
    path : of the ``.onnx`` file.
    batch : images an inference takes; None leaves it open.
    metadata : what the caller wants to be found inside the file, e.g. ``classes``, ``mean``, ``std``; values
        that are no strings are written as JSON. The architecture, its space, the resolution, the version of
        this package and the SHA-256 of the weights are always there.

    Returns
    -------
    The model as written.
    """
    weights = {name: tensor.detach().cpu().numpy() for name, tensor in subnet.state_dict().items()}
    about = dict(metadata or {}) | {
        "architecture": subnet.architecture,
        "space": subnet.space.name,
        "space_options": subnet.space.options,
        "resolution": subnet.resolution,
        "version": __version__,
        "weights_sha256": weights_sha256(weights),
    }
    model = onnx_graph(
        network_layers(subnet.space, subnet.genotype),
        weights=weights,
        batch=batch,
        metadata={key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()},
    )
    with atomic_path(Path(path)) as temporary:
        temporary.write_bytes(model.SerializeToString())
    return model


def weights_sha256(weights: Weights) -> str:
    """One hash of all arrays and their names, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].tobytes())
    return digest.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """What an ONNX file says about itself, without loading its weights into a runtime.

    Raises
    ------
    ValueError : there is no such file, or it is not an ONNX model.
    """
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}") from None
    except Exception as error:  # protobuf's DecodeError has no importable home that is stable
        raise ValueError(f"{path} is not an ONNX model") from error
    return {entry.key: entry.value for entry in model.metadata_props}
