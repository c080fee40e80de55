"""Making a given network elastic: the search space around it, and its supernet with the weights it came with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import Failure
from nas.supernet import Supernet
from nas.tracing.genes import describe
from nas.tracing.graph import Graph, Weights, read_graph
from nas.tracing.model import Model, Normalisation, exported
from nas.tracing.slots import Stretch, cut_into_slots
from search_spaces.channels import flat
from search_spaces.traced import TracedSpace, at_resolution, space_name

TOLERANCE = 1e-4
"""Largest difference from the given network's outputs, as a share of the largest of them (at least of 1)."""
SHARES = (4 / 7, 5 / 7, 6 / 7)
"""Of the given resolution: 128, 160 and 192 of 224 pixels."""
NAMED = 3
"""Layers that a note names."""
STOCHASTIC_DEPTH = {"StochasticDepth": "p", "DropPath": "drop_prob"}
"""Modules of torchvision and timm that leave blocks out in training, of which no operator tells: class, name of the
rate."""
SMALLEST_SIDE = 64
"""Images are not made smaller than this, where they are larger."""

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Adopted:
    """A network made elastic.

    Attributes
    ----------
    space : its max net is the given network.
    supernet : holds the given weights.
    notes : sentences the user should read, e.g. why there is one resolution only.
    normalisation : that its images should have, where the network says so.
    """

    space: TracedSpace
    supernet: Supernet
    notes: tuple[str, ...]
    normalisation: Normalisation | None = None


def adopt(model: Model, resolutions: Sequence[int] | None = None) -> Adopted:
    """Make a network elastic.

    Parameters
    ----------
    model : as `nas.tracing.load_model` gives it.
    resolutions : sides of the input image in pixels that the space should have; None for a few below that of the
        model. Those that the network cannot take are left out, which a note says.

    Raises
    ------
    NotTraceable : the network cannot be exported, or has an operator that no layer kind stands for.
    Failure : the elastic network computes something else than the given one.
    """
    program = exported(model)
    graph = read_graph(program)
    stretches = cut_into_slots(graph.layers)
    slots = {stretch.name: stretch.layers for stretch in stretches}
    where = {spec.name: f"{stretch.name}/{spec.name}" for stretch in stretches for spec in stretch.layers}
    like = {where[name]: where[source] for name, source in graph.like.items()}
    wanted = _wanted(model.resolution) if resolutions is None else sorted({*resolutions, model.resolution})
    possible = [] if graph.one_size else [side for side in wanted if _fits(slots, side, like)]
    description = describe(stretches, sorted({*possible, model.resolution}), graph.like)
    space = TracedSpace(space_name(model.label, description), description=description)
    supernet = Supernet(space)
    take_weights(supernet, stretches, graph.weights)
    forward = model.forward(program)
    _check(supernet, forward, model.resolution)
    working = [side for side in space.resolutions if side == model.resolution or _works(supernet, model, side)]
    if len(working) < len(space.resolutions):
        space, supernet = _with_resolutions(model, space, supernet, working)
    return Adopted(space, supernet.eval(), tuple(_notes(model, graph, space, wanted)), model.normalisation)


def _notes(model: Model, graph: Graph, space: TracedSpace, wanted: Sequence[int]) -> list[str]:
    notes = list(model.notes)
    if missing := [str(side) for side in wanted if side not in space.resolutions]:
        reason = f" ({graph.one_size})" if graph.one_size else ""
        notes.append(
            f"{model.label} cannot take images of {', '.join(missing)} pixels{reason}; the space leaves these "
            "resolutions out"
        )
    if shared := _shared_weights(graph):
        total = int(space.costs(space.max).params[0])
        more = sum((len(layers) - 1) * n for layers, n in shared.items())
        listed = ", ".join(layers[0] for layers in list(shared)[:NAMED]) + (", ..." if len(shared) > NAMED else "")
        notes.append(
            f"{model.label} uses the weights of {listed} several times; here each use gets weights of its own: "
            f"{total:,} parameters instead of {total - more:,}"
        )
    if graph.dropout:
        rates = " and ".join(f"{rate:g}" for rate in sorted(set(graph.dropout)))
        notes.append(
            f"the dropout of {model.label} ({rates}) is left out; recipe.dropout={graph.dropout[-1]:g} puts one before "
            "the classifier"
        )
    if depth := _stochastic_depth(model.module):
        notes.append(f"the stochastic depth of {model.label} (up to {depth:g}) is left out")
    return notes


def _shared_weights(graph: Graph) -> dict[tuple[str, ...], int]:
    """How many parameters several layers have in common, by the names of these layers."""
    users: dict[int, list[str]] = {}
    sizes: dict[int, int] = {}
    for spec in graph.layers:
        for part, tensor in graph.weights.get(spec.name, {}).items():
            if part.endswith(("weight", "bias")) and not spec.frozen:
                users.setdefault(tensor.data_ptr(), []).append(spec.name)
                sizes[tensor.data_ptr()] = tensor.numel()
    shared: dict[tuple[str, ...], int] = {}
    for place, layers in users.items():
        if len(layers) > 1:
            shared[tuple(layers)] = shared.get(tuple(layers), 0) + sizes[place]
    return shared


def _stochastic_depth(module: nn.Module | None) -> float:
    """The highest rate at which blocks are left out in training; 0 for none."""
    parts = [part for part in module.modules() if type(part).__name__ in STOCHASTIC_DEPTH] if module else []
    rates = [getattr(part, STOCHASTIC_DEPTH[type(part).__name__], 0.0) for part in parts]
    return max((float(rate) for rate in rates if isinstance(rate, int | float)), default=0.0)


def _wanted(side: int) -> list[int]:
    """The resolutions that a space has by itself."""
    step = 32 if side % 32 == 0 and side > SMALLEST_SIDE else 4
    found = {max(step, round(side * share / step) * step) for share in SHARES}
    return sorted({*(s for s in found if s >= min(side, SMALLEST_SIDE) or side <= SMALLEST_SIDE), side})


def _fits(slots: dict[str, tuple[Any, ...]], side: int, like: dict[str, str]) -> bool:
    try:
        at_resolution(flat(slots), side, like)
    except ValueError:
        return False
    return True


@torch.no_grad()
def take_weights(supernet: Supernet, stretches: Sequence[Stretch], weights: Weights) -> None:
    """Put the given network's weights, batch-norm statistics included, into its supernet."""
    state = {
        f"slots.{stretch.name}.{spec.name}.{part}": tensor.detach().clone().contiguous()
        for stretch in stretches
        for spec in stretch.layers
        for part, tensor in weights.get(spec.name, {}).items()
    }
    supernet.load_state_dict(state, strict=True)


@torch.inference_mode()
def difference(supernet: Supernet, forward: Forward, side: int) -> float:
    """Largest difference between the active subnet and `forward`, as a share of the largest output."""
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    training = supernet.training
    try:
        given, ours = forward(images), supernet.eval()(images)
    finally:
        supernet.train(training)
    return float((given - ours).abs().max()) / max(1.0, float(given.abs().max()))


def _check(supernet: Supernet, forward: Forward, side: int) -> None:
    found = difference(supernet, forward, side)
    if not found <= TOLERANCE:
        raise Failure(
            f"the elastic network differs from the given one by {found:.3g} of its largest output "
            f"(allowed: {TOLERANCE:g}); please report the network"
        )


def _works(supernet: Supernet, model: Model, side: int) -> bool:
    """Whether the given network takes images of this size and computes what ours does."""
    if model.module is None:  # an exported program is bound to its size; the layers have been checked to fit
        return True
    genotype = supernet.space.max.copy()
    genotype[0] = supernet.space.resolutions.index(side)  # type: ignore[attr-defined]
    supernet.activate(genotype)
    try:
        return difference(supernet, model.module, side) <= TOLERANCE
    except (RuntimeError, AssertionError, ValueError, TypeError):
        return False
    finally:
        supernet.activate(supernet.space.max)


def _with_resolutions(
    model: Model, space: TracedSpace, supernet: Supernet, working: Sequence[int]
) -> tuple[TracedSpace, Supernet]:
    description = {**space.description, "resolutions": list(working)}
    fewer = TracedSpace(space_name(model.label, description), description=description)
    result = Supernet(fewer)
    result.load_state_dict(supernet.state_dict())
    return fewer, result
