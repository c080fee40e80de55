"""What every exporter shares: the walk over a network's layers, and weights with batch-norms and scales folded in."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces import LayerSpec, SearchSpace
from search_spaces.layers import WEIGHTED

Weights = Mapping[str, NDArray[Any]]
"""Arrays by the names in `Subnet.state_dict()`, e.g. ``slots.stem.conv.conv.weight``."""
Layers = Mapping[str, Sequence[LayerSpec]]
"""Layer specs by slot name, in network order."""
MOST_BYTES = 2**31 - 2**24
"""Of weights in one file, with room for all else."""


def network_layers(space: SearchSpace, genotype: NDArray[Any]) -> dict[str, tuple[LayerSpec, ...]]:
    """The layers of one network by slot name, in network order."""
    return {slot.name: layers for slot, layers in zip(space.slots, space.layers(genotype), strict=True)}


def walk(layers: Layers, tensor: Any, write: Callable[[str, LayerSpec, list[Any]], Any]) -> Any:
    """Call ``write(name, spec, inputs)`` for every layer in order; it returns what later layers read.

    Layers whose output is not read are left out: they compute nothing, and converters fail on them. So are scales
    that go into the weights of the layer before them.

    Parameters
    ----------
    layers : the network.
    tensor : what the first layer reads.
    write : gets the layer's name as ``slot/layer``.

    Returns
    -------
    What the last layer wrote.

    Raises
    ------
    ValueError : the network has no layers.
    """
    if not any(layers.values()):
        raise ValueError("the network has no layers")
    for slot, specs in layers.items():
        written = {"": tensor}
        scales = _foldable_scales(specs)
        for spec in _live(specs):
            if spec in scales.values():
                written[spec.name] = tensor = written[spec.inputs[0]]
                continue
            activation = scales[spec.name].activation if spec.name in scales else spec.activation
            inputs = [written[i] for i in spec.inputs]
            tensor = written[spec.name] = write(f"{slot}/{spec.name}", replace(spec, activation=activation), inputs)
    return tensor


def _foldable_scales(specs: Sequence[LayerSpec]) -> dict[str, LayerSpec]:
    """By name of a layer with weights, the scale that alone reads it: the weights can be multiplied instead."""
    found = {}
    live = _live(specs)
    for spec in live:
        readers = [later for later in live if spec.name in later.inputs]
        if spec.kind in WEIGHTED and spec.activation == "none" and len(readers) == 1:
            (reader,) = readers
            if reader.kind == "scale" and not (reader.bias or reader.norm):
                found[spec.name] = reader
    return found


def _live(specs: Sequence[LayerSpec]) -> list[LayerSpec]:
    """The layers of a slot that its last one depends on."""
    needed = {specs[-1].name} if specs else set()
    kept = []
    for spec in reversed(specs):
        if spec.name in needed:
            kept.append(spec)
            needed |= set(spec.inputs)
    return kept[::-1]


def ends(layers: Layers) -> tuple[LayerSpec, LayerSpec]:
    """The first and the last layer."""
    specs = [spec for slot in layers.values() for spec in slot]
    return specs[0], specs[-1]


def check_bytes(layers: Layers) -> None:
    """See that a file can hold the weights; ONNX's protobuf and TFLite's flatbuffer both end below 2 GB.

    Raises
    ------
    ValueError : it cannot.
    """
    weights = sum(spec.weight_bytes() for specs in layers.values() for spec in specs)
    if weights >= MOST_BYTES:
        raise ValueError(
            f"the network has {weights / 1e9:.3g} GB of weights, and an ONNX or TFLite file holds at most "
            f"{MOST_BYTES / 1e9:.3g} GB; take a narrower network"
        )


def array_source(weights: Weights | None, layers: Layers, seed: int = 0) -> "ArraySource":
    """The given weights of a network with these layers, or random ones."""
    if weights is None:
        return RandomArrays(seed)
    scales = {
        f"{slot}/{name}": (f"{slot}/{spec.name}", spec)
        for slot, specs in layers.items()
        for name, spec in _foldable_scales(specs).items()
    }
    return GivenArrays(weights, scales)


def state_name(name: str) -> str:
    """What a state dict calls layer ``slot/layer``."""
    return "slots." + name.replace("/", ".")


class ArraySource(ABC):
    """Where a layer's folded weight and bias come from."""

    @abstractmethod
    def norm(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        """Scale and shift, each ``(out_channels,)``, that a batch-norm amounts to."""

    @abstractmethod
    def per_channel(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weight and bias (zeros where it has none), each ``(out_channels,)``, of a layer-norm or scale."""

    @abstractmethod
    def arrays(
        self, name: str, spec: LayerSpec, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Weight of `shape` and bias ``(out_channels,)`` (None where the layer has none) of layer ``slot/layer``."""


class RandomArrays(ArraySource):
    """Random ones at He's scale, so that activations neither explode nor become denormal."""

    def __init__(self, seed: int) -> None:
        # Repeating a few thousand numbers costs a tenth of drawing millions; the prime length keeps rows different.
        self.noise = np.random.default_rng(seed).standard_normal(65521, dtype=np.float32)

    def norm(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `ArraySource.norm`."""
        return np.ones(spec.out_channels), np.zeros(spec.out_channels)

    def per_channel(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `ArraySource.per_channel`."""
        return self.norm(name, spec)

    def arrays(
        self, name: str, spec: LayerSpec, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """See `ArraySource.arrays`."""
        weight = np.resize(self.noise, shape) * np.float32(np.sqrt(2 / np.prod(shape[1:])))
        bias = np.resize(self.noise, shape[0]) * np.float32(0.1)
        return weight, bias if spec.norm or spec.bias else None


class GivenArrays(ArraySource):
    """Those of a state dict; a batch-norm goes into the weights before it, and so do scales.

    Parameters
    ----------
    weights : the state dict.
    scales : by name ``slot/layer`` of a layer with weights, the name and spec of the scale that goes into them.
    """

    def __init__(self, weights: Weights, scales: Mapping[str, tuple[str, LayerSpec]]) -> None:
        self.weights = weights
        self.scales = scales

    def _array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
        if name not in self.weights:
            raise ValueError(f"the weights have no {name}; they belong to another network")
        array = np.asarray(self.weights[name], dtype=np.float64)
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, this network needs {shape}")
        return array

    def norm(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `ArraySource.norm`."""
        gamma, beta, mean, variance = (
            self._array(f"{state_name(name)}.norm.{part}", (spec.out_channels,))
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + spec.epsilon)
        return scale, beta - mean * scale

    def per_channel(self, name: str, spec: LayerSpec) -> tuple[NDArray[Any], NDArray[Any]]:
        """See `ArraySource.per_channel`."""
        prefix, shape = f"{state_name(name)}.{spec.kind}", (spec.out_channels,)
        has_bias = spec.bias or spec.kind == "layer_norm"
        return self._array(f"{prefix}.weight", shape), (
            self._array(f"{prefix}.bias", shape) if has_bias else np.zeros(shape)
        )

    def arrays(
        self, name: str, spec: LayerSpec, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """See `ArraySource.arrays`."""
        prefix = state_name(name)
        weight = self._array(f"{prefix}.{spec.kind}.weight", shape)
        bias = self._array(f"{prefix}.{spec.kind}.bias", shape[:1]) if spec.bias else np.zeros(shape[0])
        if spec.norm:
            scale, shift = self.norm(name, spec)
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * scale + shift
        if name in self.scales:
            scale, _ = self.per_channel(*self.scales[name])
            weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
            bias = bias * scale
        return weight.astype(np.float32), bias.astype(np.float32) if spec.norm or spec.bias else None
