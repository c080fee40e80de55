"""What one would do otherwise to make a network faster: let it read smaller images, or prune its channels.

Both are chosen by measuring: of the networks that keep the limit in one session, the one that uses most of it.
Latencies are milliseconds.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from experiments.adopted.originals import as_subnet, module_of
from latency_tables.scratch import scratch_folder
from nas.data import ImageData
from nas.devices import Device
from nas.devices.runtimes import RUNTIMES, file_kind
from nas.export.checked import calibrated_file
from nas.supernet import Subnet

SIDES = range(64, 225, 16)
RATIOS = [step / 32 for step in range(1, 26)]
"""Of channels pruned from every layer."""
ROUND_TO = 8
ROOM = 0.01
"""Share of the limit left for the next session."""


Make = Callable[[], Subnet]
"""Makes a network, in evaluation mode, before it is fine-tuned."""


def smaller_images(network: str, weights: Path, side: int) -> dict[str, Make]:
    """The network at each resolution below its own."""
    sides = [s for s in SIDES if s < side]
    return {f"at {s} px": partial(_as_given, network, weights, s) for s in sides}


def pruned(network: str, weights: Path, side: int) -> dict[str, Make]:
    """The network with channels removed by Torch-Pruning (https://arxiv.org/abs/2301.12900).

    As its documentation shows it: groups of coupled channels by the norm of their weights, the same share of every
    layer, counts rounded to 8, the classifier left as it is.
    """
    return {f"{ratio:.1%} of channels pruned": partial(_pruned, network, weights, side, ratio) for ratio in RATIOS}


def within(latencies: Mapping[str, float], limit_ms: float) -> str | None:
    """Name of the slowest network that keeps the limit; None where none does."""
    kept = {name: ms for name, ms in latencies.items() if ms <= limit_ms * (1 - ROOM)}
    return max(kept, key=lambda name: kept[name], default=None)


def measure_together(subnets: Sequence[Subnet], device: Device, data: ImageData) -> list[float]:
    """Latency of the networks' files in one session."""
    runtime, kind = RUNTIMES[device.spec.runtime], file_kind(device.spec.runtime, device.spec.precision)
    assert kind is not None
    with scratch_folder() as scratch:
        paths = [scratch / f"network{i}{runtime.suffix}" for i in range(len(subnets))]
        for path, subnet in zip(paths, subnets, strict=True):
            path.write_bytes(calibrated_file(subnet, kind, data))
        return [float(m.latency_ms) for m in device.measure_models(paths).measurements]


def _as_given(network: str, weights: Path, side: int) -> Subnet:
    return as_subnet(module_of(network, weights), network, side)


def _pruned(network: str, weights: Path, side: int, ratio: float) -> Subnet:
    return as_subnet(_prune(module_of(network, weights), ratio, side), f"pruned_{network}", side)


def _prune(module: nn.Module, ratio: float, side: int) -> nn.Module:
    import torch_pruning

    classifier = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    torch_pruning.pruner.BasePruner(
        module,
        torch.zeros(1, 3, side, side),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=[classifier],
        round_to=ROUND_TO,
    ).step()
    return module
