"""The card of a latency table: which device, measured how and when, and whose figures these are."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, ConfigDict

from latency_tables.files import plain_name, read_yaml, shown, write_text

RESERVED = ",=@"
"""No part of a device's name: the command line reads ``--device a,b`` and ``--latency a=20ms``."""


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted year or version as a number."""
    if value is None:
        return ""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]


@dataclass(frozen=True)
class Card:
    """What must be known of a latency table before its numbers mean anything.

    Attributes
    ----------
    name : the device's name, as typed on the command line.
    aliases : other names it answers to.
    chip : processor and, for boards and phones, the product.
    transport : ``local``, ``ssh`` or ``adb`` where we measured; empty for published figures.
    runtime, runtime_version : what ran the networks.
    threads : CPU threads; 0 where the question does not arise (accelerators).
    precision : of weights and activations, ``float32``, ``float16`` or ``int8``.
    conditions : what else may move a latency: core, governor, load, noise, repeatability.
    date : of the measurement, ``YYYY-MM-DD``.
    provenance : who measured; ``measured`` for our own.
    citation : the publication to cite for figures that are not ours.
    licence : of the figures.
    simulated : the figures come from a simulator, not from a device.

    Raises
    ------
    ValueError : a name that is not plain (see `device_name`), or a negative number of threads.
    """

    name: Text
    aliases: tuple[Text, ...] = ()
    chip: Text = ""
    transport: Text = ""
    runtime: Text = ""
    runtime_version: Text = ""
    threads: int = 0
    precision: Text = "float32"
    conditions: dict[str, Any] = field(default_factory=dict)
    date: Text = ""
    provenance: Text = "measured"
    citation: Text = ""
    licence: Text = ""
    simulated: bool = False

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in (self.name, *self.aliases):
            device_name(name)
        if self.threads < 0:
            raise ValueError(f"threads must be 0 or more, got {self.threads}")


def device_name(name: str) -> str:
    """`name`, if it can name a device: on the command line, and its folder.

    Raises
    ------
    ValueError : see `latency_tables.files.plain_name`; or it begins with ``-`` or ``.``, or has one of `RESERVED`.
    """
    try:
        plain_name(name)
    except ValueError as error:
        raise ValueError(f"the name of a device {error}") from None
    if name[0] in "-." or any(character in RESERVED for character in name):
        raise ValueError(f"the name of a device cannot begin with - or . nor have , = or @ in it, got {shown(name)!r}")
    return name


def read_card(path: Path) -> Card:
    """Read a card.

    Raises
    ------
    ValueError : no such file, not YAML, no name, an unknown field or a value of the wrong type.
    """
    if not path.exists():
        raise ValueError(f"the latency table has no card: {path} is missing")
    return read_yaml(path, Card)


def write_card(path: Path, card: Card) -> None:
    """Write a card, atomically."""
    fields = dataclasses.asdict(card) | {"aliases": list(card.aliases)}
    write_text(path, yaml.dump(fields, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True, width=100))


class _PlainDumper(yaml.SafeDumper):
    """YAML without aliases, which the reader refuses."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
