"""An exported program -> layer specs and their weights.

Every operator of the flat graph is read by one function of `nas.tracing.operators`; batch-norms, activations and zero
padding that stand behind or before one layer alone are then made part of it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind

from nas.tracing.operators import CONSTANT_ONLY, OPERATORS
from nas.tracing.values import Constant, Map, NotTraceable, Value, module_path, operator_name, refuse
from search_spaces import LayerSpec
from search_spaces.channels import NETWORK_INPUT
from search_spaces.layers import WEIGHTED

SYMBOLIC = (int, float, torch.SymInt, torch.SymFloat, torch.SymBool)
Weights = dict[str, dict[str, Tensor]]
"""By layer, tensors by their names in `nas.supernet`: ``conv.weight``, ``norm.running_mean``."""


@dataclass
class Graph:
    """A network as a flat list of layers.

    Attributes
    ----------
    layers : in order; `NETWORK_INPUT` is the image.
    weights : of the layers.
    like : by ``upsample`` layer, a tensor whose side it takes.
    one_size : why the network can take images of this size only; empty where nothing says so.
    dropout : the rates of dropout, which is left out, in order.
    """

    layers: list[LayerSpec] = field(default_factory=list)
    weights: Weights = field(default_factory=dict)
    like: dict[str, str] = field(default_factory=dict)
    one_size: str = ""
    dropout: list[float] = field(default_factory=list)

    def add(self, node: fx.Node, kind: str, *inputs: Map, out: int = 0, tensors: Any = None, **rest: Any) -> Map:
        """Write a layer; what it gives. `tensors` are its weights by name, without its kind."""
        first = inputs[0]
        names = tuple(value.name for value in inputs)
        spec = LayerSpec(
            self._name(node, kind),
            kind,  # type: ignore[arg-type]
            first.channels,
            out or first.channels,
            first.size,
            inputs=names,
            **rest,
        )
        prefix = "norm" if kind == "identity" else kind
        self.weights[spec.name] = {f"{prefix}.{k}": v for k, v in (tensors or {}).items() if v is not None}
        self.layers.append(spec)
        return Map(spec.name, spec.out_channels, spec.out_size)

    def _name(self, node: fx.Node, kind: str) -> str:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, module = stack[-1] if stack else ("", "")
        plain = "".join(c if c.isascii() and c.isalnum() else "_" for c in str(path)).strip("_")
        if "torch.nn.modules" not in str(module) or not plain:
            plain = f"{plain}_{kind}" if plain else kind
        taken = {spec.name for spec in self.layers}
        name = plain
        number = 2
        while name in taken:
            name, number = f"{plain}_{number}", number + 1
        return name


def read_graph(program: ExportedProgram) -> Graph:
    """Read an exported program.

    Raises
    ------
    NotTraceable : an operator that has no layer kind, several inputs or outputs, or no image classifier.
    """
    graph = Graph()
    values: dict[fx.Node, Value] = {}
    output = None
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = _placeholder(program, node)
        elif node.op == "output":
            output = node
        elif node.op == "get_attr":
            values[node] = Constant(getattr(program.graph_module, str(node.target)))
        else:
            values[node] = _call(graph, node, values)
            _write_back(node, values)
    assert output is not None
    result = _result(program, output, values)
    return folded(_with_rows(graph, result.name))


def _with_rows(graph: Graph, name: str) -> Graph:
    """The network whose layer `name` is the last but for making rows of logits."""
    end = next((i for i, spec in enumerate(graph.layers) if spec.name == name), None)
    if end is None:
        raise NotTraceable("the network's output is its input")
    last = graph.layers[end]
    del graph.layers[end + 1 :]
    if last.kind == "conv" and last.kernel == last.size == 1 and not last.norm and last.groups == 1:
        # A fully connected layer on pooled features, the last one: the only one that stays a linear layer.
        held = graph.weights[name]
        graph.layers[end] = replace(last, kind="linear", padding=None)
        graph.weights[name] = {k.replace("conv", "linear"): t.flatten(1) if t.ndim > 1 else t for k, t in held.items()}
    else:
        n = last.out_channels
        graph.layers.append(LayerSpec("logits", "flatten", n, n, last.out_size, inputs=(name,)))
    return graph


def _placeholder(program: ExportedProgram, node: fx.Node) -> Value:
    spec = next(spec for spec in program.graph_signature.input_specs if spec.arg.name == node.name)
    if spec.kind == InputKind.PARAMETER:
        return Constant(program.state_dict[str(spec.target)].detach(), True)
    if spec.kind == InputKind.BUFFER:
        held = program.state_dict if spec.target in program.state_dict else program.constants
        return Constant(torch.as_tensor(held[str(spec.target)]).detach())
    if spec.kind == InputKind.CONSTANT_TENSOR:
        return Constant(torch.as_tensor(program.constants[str(spec.target)]).detach())
    shape = tuple(node.meta["val"].shape) if isinstance(node.meta.get("val"), Tensor) else ()
    users = [s for s in program.graph_signature.input_specs if s.kind == InputKind.USER_INPUT]
    if len(users) != 1:
        raise NotTraceable(f"the network has {len(users)} inputs; an image classifier has one")
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        given = " x ".join(map(str, shape)) or "no tensor"
        raise NotTraceable(f"the network reads {given}; an image classifier reads batch x 3 x side x side")
    return Map(NETWORK_INPUT, 3, int(shape[3]))


def _result(program: ExportedProgram, node: fx.Node, values: Mapping[fx.Node, Value]) -> Map:
    outputs = [spec for spec in program.graph_signature.output_specs if spec.kind == OutputKind.USER_OUTPUT]
    if len(outputs) != 1:
        raise NotTraceable(f"the network has {len(outputs)} outputs; an image classifier has one")
    returned = next((n for n in node.all_input_nodes if n.name == outputs[0].arg.name), None)
    value = values.get(returned) if returned is not None else None
    if not isinstance(value, Map):
        raise NotTraceable("the network's output does not depend on the image")
    if value.layout == "map" and value.size > 1 or value.layout not in ("map", "flat"):
        raise NotTraceable("the network's output is not one row of class scores an image")
    if returned is not None and len(returned.meta["val"].shape) != 2:
        shape = " x ".join(map(str, returned.meta["val"].shape[1:]))
        raise NotTraceable(f"the network gives {shape} numbers an image; an image classifier gives one row of scores")
    return value


def _call(graph: Graph, node: fx.Node, values: Mapping[fx.Node, Value]) -> Value:
    changes = isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
    if isinstance(node.meta.get("val", ()), SYMBOLIC) or not (node.users or changes):
        return None  # sizes, which are read where they are used, and what nothing reads
    name = operator_name(node)
    args: Any = fx.node.map_arg(node.args, lambda n: cast(Any, values[n]))
    keywords: Any = fx.node.map_arg(node.kwargs, lambda n: cast(Any, values[n]))
    given = [values[n] for n in node.all_input_nodes]
    if given and all(isinstance(value, Constant) for value in given) or name in CONSTANT_ONLY:
        return _evaluated(node, args, keywords, given)
    if name not in OPERATORS:
        raise refuse(node, "no layer kind stands for it")
    try:
        value: Value = OPERATORS[name](graph, node, *args, **keywords)
    except TypeError as error:
        raise refuse(node, f"its arguments are unknown here ({error})") from None
    return value


def _evaluated(node: fx.Node, args: Any, keywords: Any, given: list[Value]) -> Value:
    """What follows from constants alone is a constant."""

    def tensor(value: Any) -> Any:
        return value.tensor if isinstance(value, Constant) else value

    assert callable(node.target)
    with torch.no_grad():
        result = node.target(
            *torch.utils._pytree.tree_map(tensor, args, is_leaf=lambda v: isinstance(v, Constant)),
            **torch.utils._pytree.tree_map(tensor, keywords, is_leaf=lambda v: isinstance(v, Constant)),
        )
    trainable = any(isinstance(value, Constant) and value.trainable for value in given)
    if isinstance(result, tuple | list):
        return [Constant(part, trainable) for part in result]
    return Constant(torch.as_tensor(result), trainable)


def _write_back(node: fx.Node, values: dict[fx.Node, Value]) -> None:
    """After an operator that works in place, whoever reads the tensor it worked on reads its result.

    What is changed in place through a view of it, or a part (of a chunk), is not followed; `nas.tracing.adopt` compares
    outputs.
    """
    if isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable:
        before = values[node.all_input_nodes[0]]
        for other, known in values.items():
            if known is before and isinstance(before, Map):
                values[other] = values[node]


def folded(graph: Graph) -> Graph:
    """The same network with norms, activations and padding made part of the layers that they stand at alone."""
    layers = _live(graph.layers)
    readers = Counter(name for spec in layers for name in spec.inputs)
    renamed: dict[str, str] = {}
    weights = {name: dict(tensors) for name, tensors in graph.weights.items()}
    result: dict[str, LayerSpec] = {}
    for spec in layers:
        spec = replace(spec, inputs=tuple(renamed.get(name, name) for name in spec.inputs))
        source = result.get(spec.inputs[0])
        alone = readers[spec.inputs[0]] == 1
        if spec.kind == "identity" and source is not None:
            bare = source.activation == "none"
            if spec.norm and alone and bare and source.kind in WEIGHTED and not source.norm:
                result[source.name] = replace(source, norm=True, epsilon=spec.epsilon)
                weights[source.name] |= weights.pop(spec.name)
                renamed[spec.name] = source.name
                readers[source.name] = readers[spec.name]
                continue
            # The smallest of relu and a limit at 6 is relu6.
            limited = source.activation == "relu" and spec.activation == "relu6"
            if not spec.norm and alone and (bare or limited):
                result[source.name] = replace(source, activation=spec.activation)
                renamed[spec.name] = source.name
                readers[source.name] = readers[spec.name]
                continue
        if (
            spec.kind == "conv"
            and source is not None
            and source.kind == "pad"
            and source.activation == "none"
            and alone
        ):
            padding = tuple(a + b for a, b in zip(spec.pads, source.pads, strict=True))
            del result[source.name]
            spec = replace(spec, size=source.size, inputs=source.inputs, padding=padding)  # type: ignore[arg-type]
        result[spec.name] = _usual_padding(spec)
    like = {renamed.get(a, a): renamed.get(b, b) for a, b in graph.like.items()}
    return Graph(list(result.values()), weights, like, graph.one_size, graph.dropout)


def _usual_padding(spec: LayerSpec) -> LayerSpec:
    """Padding of ``(kernel - 1) // 2`` all round goes without saying."""
    if spec.padding is None or spec.dilation > 1 or spec.ceil_mode or not all(side % 2 for side in spec.window):
        return spec
    usual = tuple((side - 1) // 2 for side in spec.window for _ in range(2))
    return replace(spec, padding=None) if spec.padding == usual else spec


def _live(layers: list[LayerSpec]) -> list[LayerSpec]:
    needed = {layers[-1].name}
    kept = []
    for spec in reversed(layers):
        if spec.name in needed:
            kept.append(spec)
            needed |= set(spec.inputs)
    return kept[::-1]


__all__ = ["Graph", "Weights", "module_path", "read_graph"]
