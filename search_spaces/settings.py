"""What may be said about a search space, as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self, get_type_hints

from latency_tables.files import check_value, from_fields, shown
from search_spaces.registry import get_space
from search_spaces.space import SearchSpace

LARGEST = {
    "depths": 64,
    "kernels": 63,
    "expansions": 100,
    "widths": 400,
    "attention_depths": 16,
    "heads": 64,
    "key_strides": 64,
    "resolutions": 4096,
    "width_mult": 64,
    "channels": 4096,
    "cells": 64,
}
"""A larger value is a slip of the keyboard: making such a space would take all memory."""


@dataclass(frozen=True, kw_only=True)
class SpaceSettings:
    """A search space by name, and what differs from its own defaults; None leaves a default as it is.

    Attributes
    ----------
    name : a key of `search_spaces.SPACES`.
    depths : blocks that a stage may have; of resnet50, those beyond its least two or four.
    kernels : sides of depthwise kernels.
    expansions : ratios of inner to outer width; of resnet50, in per cent.
    widths : of the stem and of each stage of resnet50, in per cent of the usual one.
    attention_depths, heads : attention blocks that a stage of hybrid may have, and heads of their queries.
    key_strides : of what is before keys and values in the third stage of hybrid.
    resolutions : sides of the images that a network may read, in pixels.
    width_mult : of all widths.
    strides, stem_stride : of the first block of each stage and of the stem, each 1 or 2. The defaults are for
        photographs; images of 32 pixels want fewer twos.
    channels, cells : width of the first stage and cells a stage, of NAS-Bench-201.

    Raises
    ------
    ValueError : the space does not have an option that is given, or cannot have its value.
    """

    name: str = "mobilenet_v3_small_images"
    depths: tuple[int, ...] | None = None
    kernels: tuple[int, ...] | None = None
    expansions: tuple[int, ...] | None = None
    widths: tuple[int, ...] | None = None
    attention_depths: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    key_strides: tuple[int, ...] | None = None
    resolutions: tuple[int, ...] | None = None
    width_mult: float | None = None
    strides: tuple[int, ...] | None = None
    stem_stride: int | None = None
    channels: int | None = None
    cells: int | None = None

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            value = check_value(_plain(getattr(self, field.name)), hints[field.name], f"space.{field.name}")
            object.__setattr__(self, field.name, value)
            largest = max(value, default=0) if isinstance(value, tuple) else value
            if field.name in LARGEST and largest is not None and not largest <= LARGEST[field.name]:
                raise ValueError(f"space.{field.name} must be at most {LARGEST[field.name]}, got {shown(largest)}")
        self.make()

    @property
    def options(self) -> dict[str, Any]:
        """What is said besides the name."""
        said = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "name"}
        return {name: value for name, value in said.items() if value is not None}

    def make(self, num_classes: int | None = None) -> SearchSpace:
        """The space; `num_classes` follows from the images where they are known."""
        classes = {} if num_classes is None else {"num_classes": num_classes}
        return get_space(self.name, **self.options, **classes)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Self:
        """From a mapping of the fields.

        Raises
        ------
        ValueError : a field that there is not, or a value that cannot work.
        """
        return from_fields(cls, settings, "space.")

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, complete."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
