"""The table of functions that read operators, and what they share."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, fx

from nas.tracing.values import Constant, Map, refuse

Operator = Callable[..., Any]
OPERATORS: dict[str, Operator] = {}
CONSTANT_ONLY = frozenset({"zeros", "ones", "full", "arange", "scalar_tensor", "lift_fresh_copy"})
"""Operators without a tensor to read; what they make is a constant."""


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register the function that reads these operators."""

    def register(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return register


def pair(value: Any) -> tuple[int, int]:
    """A number for height and one for width, of one for both or two."""
    numbers = [value] if isinstance(value, int) else list(value)
    return (numbers[0], numbers[-1])


def same_both_ways(node: fx.Node, value: Any, what: str) -> int:
    """The number that holds for height and width."""
    first, second = pair(value)
    if first != second:
        raise refuse(node, f"its {what} differs between height and width")
    return first


def feature_map(node: fx.Node, value: Any, *layouts: str) -> Map:
    """The feature map that `value` is, in one of these layouts."""
    if not isinstance(value, Map):
        raise refuse(node, "it reads a constant where a feature map is expected")
    if value.layout not in layouts:
        raise refuse(node, f"it reads a tensor laid out as {value.layout}")
    return value


def weight_tensor(node: fx.Node, value: Any) -> Tensor | None:
    """The constant tensor that `value` is, or None."""
    if value is None:
        return None
    if not isinstance(value, Constant):
        raise refuse(node, "its weights depend on the image")
    return value.tensor


def operator_is(node: fx.Node, name: str) -> bool:
    """Whether the node calls the ATen operator `name`."""
    return str(node.target).startswith(f"aten.{name}.")
