"""A flat network -> slots: stretches between points where a single tensor crosses, one block each.

Not every such point is a cut. A block's inner channels should lie inside one slot, so an expansion is not cut off from
its projection, nor a depthwise convolution from what follows it. Slots that give maps of one shape form a stage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from search_spaces import LayerSpec
from search_spaces.channels import NETWORK_INPUT, is_dense
from search_spaces.layers import SLOT_INPUT


@dataclass
class Stretch:
    """A slot in the making.

    Attributes
    ----------
    group, name : of the slot.
    layers : their inputs named as inside a slot.
    residual : without it the network still works: its output has the shape of its input, which is added in.
    """

    layers: tuple[LayerSpec, ...]
    residual: bool
    group: str = ""
    name: str = ""

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and size of the output."""
        return self.layers[-1].out_channels, self.layers[-1].out_size


def cut_into_slots(layers: Sequence[LayerSpec]) -> list[Stretch]:
    """Cut a flat network into slots and name them by stage."""
    stretches: list[Stretch] = []
    start, source = 0, NETWORK_INPUT
    for end in [*_cuts(layers), len(layers) - 1]:
        inside = [_renamed(spec, source) for spec in layers[start : end + 1]]
        stretches.append(Stretch(tuple(inside), _is_residual(inside)))
        start, source = end + 1, layers[end].name
    _name(stretches)
    return stretches


def _renamed(spec: LayerSpec, source: str) -> LayerSpec:
    return replace(spec, inputs=tuple(SLOT_INPUT if name == source else name for name in spec.inputs))


def _cuts(layers: Sequence[LayerSpec]) -> list[int]:
    """Numbers of the layers after which the network is cut."""
    last_read = {name: i for i, spec in enumerate(layers) for name in spec.inputs}
    cuts: list[int] = []
    farthest = last_read[NETWORK_INPUT]
    crossing = []
    for i, spec in enumerate(layers[:-1]):
        # Only the newest tensor is read later.
        if farthest <= i:
            crossing.append(i)
        farthest = max(farthest, last_read.get(spec.name, 0))
    by_name = {spec.name: spec for spec in layers}
    for position, i in enumerate(crossing):
        spec = layers[i]
        root = _root(spec, by_name)
        following = crossing[position + 1] if position + 1 < len(crossing) else -1
        if root is None or (root.kind == "conv" and root.groups > 1) or spec.kind == "global_pool":
            continue
        joined = root.kind in ("add", "concat", "shuffle")
        if joined and spec.kind not in ("add", "concat", "shuffle", "identity"):
            continue
        if joined and spec.kind == "identity" and cuts and cuts[-1] == i - 1:
            continue
        if not joined:
            after = layers[following] if following >= 0 else None
            if after is not None and _is_weightless(after) and _root(after, by_name) is root:
                continue
            if _is_inside(root, layers, i, after):
                continue
        if any(is_dense(later) for later in layers[i + 1 :]):
            cuts.append(i)
    return cuts


def _is_weightless(spec: LayerSpec) -> bool:
    return spec.kind in ("max_pool", "avg_pool", "pad", "identity", "scale", "layer_norm")


def _root(spec: LayerSpec, by_name: Mapping[str, LayerSpec]) -> LayerSpec | None:
    """The layer whose channels these are: behind pooling, norms, activations and gates."""
    while _is_weightless(spec) or spec.kind == "mul":
        if spec.inputs[0] == NETWORK_INPUT:
            return None
        spec = by_name[spec.inputs[0]]
    return spec


def _is_inside(root: LayerSpec, layers: Sequence[LayerSpec], cut: int, following: LayerSpec | None) -> bool:
    """Whether the tensor is the inside of a block, not a place between blocks.

    Wider than what dense layers give before and after it (an expansion), or narrower than before and read by parallel
    layers whose outputs are then concatenated (a squeeze).
    """
    names = [spec.name for spec in layers]
    before = next((s.out_channels for s in reversed(layers[: names.index(root.name)]) if is_dense(s)), 3)
    after = next((s.out_channels for s in layers[cut + 1 :] if is_dense(s)), None)
    if following is not None and following.kind == "concat" and root.name not in following.inputs:
        return root.out_channels < before
    return after is not None and before < root.out_channels > after


def _is_residual(layers: Sequence[LayerSpec]) -> bool:
    first, last = layers[0], layers[-1]
    if (first.in_channels, first.size) != (last.out_channels, last.out_size):
        return False
    direct = {SLOT_INPUT}
    added: set[str] = set()
    for spec in layers:
        if spec.kind in ("identity", "scale") and spec.inputs[0] in direct | added:
            (added if spec.inputs[0] in added else direct).add(spec.name)
        elif spec.kind == "add" and (set(spec.inputs) & (direct | added)):
            added.add(spec.name)
    return last.name in added


def _name(stretches: Sequence[Stretch]) -> None:
    """``stem``, ``stage1_block2``, ``head``."""
    stage = block = 0
    shape = None
    for i, stretch in enumerate(stretches):
        if i == len(stretches) - 1:
            stretch.group = stretch.name = "head"
            continue
        if i == 0 and not stretch.residual and len(stretches) > 2:
            stretch.group = stretch.name = "stem"
            continue
        # A stage begins where the shape changes, with the slot that changes it.
        if stretch.shape != shape:
            stage, block = stage + 1, 0
        block += 1
        shape = stretch.shape
        stretch.group, stretch.name = f"stage{stage}", f"stage{stage}_block{block}"
