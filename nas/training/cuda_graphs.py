"""Subnets recorded as CUDA graphs, so that a training step of small networks is not spent on starting kernels.

A graph repeats the kernels of a forward and a backward pass on the same memory: what a step brings is copied into
fixed tensors first, and gradients are added to fixed buffers. https://pytorch.org/blog/accelerating-pytorch-with-cuda-graphs/

On an H200 recorded steps agreed with plain ones and took .27 of the time at batch 128 (experiments/training_speed).
Tests run all of it but the recording itself, on a CPU.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from nas.training.recipe import Phase
from nas.training.subnet_pass import Inputs, SubnetPass, figures
from search_spaces import Population

Replay = Callable[[], object]


@dataclass(frozen=True)
class Recorded:
    """One subnet.

    Attributes
    ----------
    inputs : fixed tensors that it reads.
    logits, figures : fixed tensors that it writes, as `SubnetPass.backward` returns them.
    used : names of the parameters whose gradients it adds to the buffers.
    replay : does it.
    """

    inputs: Inputs
    logits: Tensor
    figures: Tensor
    used: tuple[str, ...]
    replay: Replay


class RecordedPasses:
    """`SubnetPass.backward` for the subnets of a phase, each recorded when it first comes and then replayed.

    Graphs share their memory. Whatever outlives one replay (inputs, outputs, gradients) is allocated outside of it,
    so they may be replayed in any order.

    Parameters
    ----------
    subnet_pass : what is recorded.
    parameters : of the network, by name. Their memory must stay where it is.
    record : makes a function that repeats the one that it is given; by default by a CUDA graph.
    """

    def __init__(
        self,
        subnet_pass: SubnetPass,
        parameters: Mapping[str, nn.Parameter],
        record: Callable[[Replay], Replay] | None = None,
    ) -> None:
        self.subnet_pass = subnet_pass
        self.parameters = parameters
        self.gradients = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        self._given, self._record = record, record or _cuda_graph_recorder()
        self._recorded: dict[tuple[bytes, object], Recorded] = {}
        self._fixed: dict[tuple[object, ...], Tensor] = {}
        self._used: set[str] = set()

    def forget(self, kept: Population | None = None) -> None:
        """Drop all recordings but those of the subnets `kept`."""
        names = set() if kept is None else {row.tobytes() for row in kept}
        self._recorded = {key: recorded for key, recorded in self._recorded.items() if key[0] in names}
        if not self._recorded:  # memory that no graph uses any more must not be captured into again
            self._record = self._given or _cuda_graph_recorder()

    def begin(self) -> None:
        """Before the first subnet of a step: no gradients yet."""
        torch._foreach_zero_(list(self.gradients.values()))
        self._used = set()

    def backward(
        self, genotype: Population, activate: Callable[[], object], phase: Phase, inputs: Inputs
    ) -> tuple[Tensor, Tensor]:
        """As `SubnetPass.backward`; the logits are valid until the subnet runs again.

        Parameters
        ----------
        activate : makes the subnet of `genotype` the active one; a graph that is replayed does not need it.
        """
        key = genotype.tobytes(), _signature(inputs)
        fixed = self._filled(inputs)
        if key not in self._recorded:
            self._recorded[key] = self._recording(activate, phase, fixed)
        recorded = self._recorded[key]
        recorded.replay()
        self._used.update(recorded.used)
        return recorded.logits, recorded.figures.clone()

    def assign(self) -> None:
        """After the last subnet of a step: give the parameters that it used their gradients, as a plain step would."""
        for name, parameter in self.parameters.items():
            parameter.grad = self.gradients[name] if name in self._used else None

    def _filled(self, inputs: Inputs) -> Inputs:
        """The fixed tensors for inputs of these shapes, holding `inputs`."""

        def put(name: str, tensor: Tensor | None) -> Tensor | None:
            if tensor is None:
                return None
            key = name, tuple(tensor.shape), tensor.dtype
            if key not in self._fixed:
                self._fixed[key] = torch.empty_like(tensor)
            return self._fixed[key].copy_(tensor)

        weight = self._fixed.setdefault(("weight",), torch.empty((), device=inputs.images.device))
        weight.fill_(inputs.weight)
        images, labels = put("images", inputs.images), put("labels", inputs.labels)
        assert images is not None
        assert labels is not None
        target, external = put("target", inputs.target), put("external", inputs.external)
        return Inputs(images, labels, target, external, put("factors", inputs.factors), weight)

    def _recording(self, activate: Callable[[], object], phase: Phase, inputs: Inputs) -> Recorded:
        """Record the subnet that `activate` makes the active one."""
        parameters = list(self.parameters.values())

        def gradients(of: Iterable[Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor | None, ...]]:
            activate()
            logits, loss = self.subnet_pass.loss(phase, inputs)
            found = torch.autograd.grad(loss * inputs.weight, list(of), allow_unused=True)
            return logits.detach(), figures(logits, loss, inputs), found

        # Once for real: libraries allocate what they need, and it is seen which parameters the subnet uses.
        with _aside(inputs.images.device):
            first_logits, first_measured, found = gradients(parameters)
        logits, measured = torch.empty_like(first_logits), torch.empty_like(first_measured)
        used = tuple(name for name, grad in zip(self.parameters, found, strict=True) if grad is not None)
        del found
        into = [self.gradients[name] for name in used]

        def work() -> None:
            new_logits, new_measured, grads = gradients(self.parameters[name] for name in used)
            torch._foreach_add_(into, [grad for grad in grads if grad is not None])
            logits.copy_(new_logits)
            measured.copy_(new_measured)

        return Recorded(inputs, logits, measured, used, self._record(work))


def _signature(inputs: Inputs) -> object:
    """Shapes and kinds, which are part of a recording."""
    tensors = (inputs.images, inputs.labels, inputs.target, inputs.external, inputs.factors)
    return tuple(None if tensor is None else (tuple(tensor.shape), tensor.dtype) for tensor in tensors)


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """While entered, work on another stream, as is asked for before a recording."""
    if device.type != "cuda":
        yield
        return
    stream = _side_stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream(device).wait_stream(stream)


@lru_cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Always the same one: libraries keep memory for every stream that they have seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _cuda_graph_recorder() -> Callable[[Replay], Replay]:
    """Records CUDA graphs that share one pool of memory."""
    memory = torch.cuda.graph_pool_handle()

    def record(work: Replay) -> Replay:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=memory):
            work()
        return graph.replay

    return record
