"""What stands for a value of the exported graph while it is read: a feature map, a constant, a shuffle half done."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, fx

Layout = Literal["map", "last", "flat", "row", "averaged", "apart", "swapped"]


class NotTraceable(ValueError):
    """The network has something that no layer kind stands for (exit code 2)."""


@dataclass(frozen=True)
class Map:
    """A feature map, however the graph lays it out.

    Attributes
    ----------
    name : of the layer that writes it.
    channels, size : of the feature map.
    layout : ``map`` is (B, C, H, W), ``last`` is (B, H, W, C), ``flat`` is (B, C * H * W),
        ``row`` is (B, C, 1), ``averaged`` is (B, C, H), of which the mean over height is still to be taken; in a
        channel shuffle, ``apart`` is (B, groups, C / groups, H, W) and ``swapped`` is (B, C / groups, groups, H, W).
    groups : of a shuffle.
    """

    name: str
    channels: int
    size: int
    layout: Layout = "map"
    groups: int = 1

    def as_layout(self, layout: Layout, groups: int = 1) -> "Map":
        """The same values laid out otherwise."""
        return replace(self, layout=layout, groups=groups)

    def copied(self) -> "Map":
        """The same values in memory of their own: what works in place on one leaves the other as it is."""
        return replace(self)

    @property
    def channel_axis(self) -> int:
        """Where the channels are."""
        return 3 if self.layout == "last" else 1


@dataclass(frozen=True)
class Constant:
    """A parameter, a buffer, or what follows from them alone; `trainable` where a parameter is in it."""

    tensor: Tensor
    trainable: bool = False


Value = Map | Constant | list[Any] | int | float | None


def module_path(node: fx.Node) -> str:
    """The path of the module that the operator was called in, and its class, for messages."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return f"module {path or '(top)'} ({str(kind).rsplit('.', 1)[-1].rstrip(chr(39) + '>') or 'unknown'})"


def operator_name(node: fx.Node) -> str:
    """``relu`` of ``aten.relu_.default``."""
    target = node.target
    name = target.__name__ if callable(target) and not isinstance(target, torch._ops.OpOverload) else str(target)
    parts = name.split(".")
    plain = parts[1] if parts[0] == "aten" and len(parts) > 1 else parts[0]
    return plain if plain.startswith("_") else plain.rstrip("_")


def refuse(node: fx.Node, why: str) -> NotTraceable:
    """The error for an operator that has no layer kind."""
    return NotTraceable(f"{module_path(node)} uses the operator {node.target}, which cannot be made elastic: {why}")
