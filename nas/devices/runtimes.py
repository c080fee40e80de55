"""What runs networks on a device, and the file each runtime wants.

A runtime here is its name, its precisions and a way to write a network for it; how it is run is the agent's
business (`nas/devices/agent.py`), which needs nothing else of this package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latency_tables.files import atomic_path
from nas.export.layer_graph import network_layers
from nas.export.onnx_graph import onnx_graph
from search_spaces import SearchSpace

WriteModel = Callable[[SearchSpace, NDArray[Any], int, Path], None]
"""(space, genotype, batch, path): write the network with random weights."""


@dataclass(frozen=True)
class Runtime:
    """A runtime.

    Attributes
    ----------
    suffix : of its model files.
    precisions : those it can run here, each with the way to write a network for it.
    extra : of this project, that installs it; empty where it is always there.
    """

    suffix: str
    precisions: dict[str, WriteModel]
    extra: str = ""


def _write_onnx(space: SearchSpace, genotype: NDArray[Any], batch: int, path: Path) -> None:
    model = onnx_graph(network_layers(space, genotype), batch=batch)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


RUNTIMES: dict[str, Runtime] = {
    "onnxruntime": Runtime(".onnx", {"float32": _write_onnx}),
}
