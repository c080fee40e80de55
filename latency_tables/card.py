"""The card of a latency table: which device, measured how and when, and whose figures these are."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from latency_tables.files import write_text


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
    """

    name: str
    aliases: tuple[str, ...] = ()
    chip: str = ""
    transport: str = ""
    runtime: str = ""
    runtime_version: str = ""
    threads: int = 0
    precision: str = "float32"
    conditions: dict[str, Any] = field(default_factory=dict)
    date: str = ""
    provenance: str = "measured"
    citation: str = ""
    licence: str = ""
    simulated: bool = False


def read_card(path: Path) -> Card:
    """Read a card.

    Raises
    ------
    ValueError : no such file, not YAML, no name, an unknown field or a value of the wrong type.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ValueError(f"the latency table has no card: {path} is missing") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content.get("name"):
        raise ValueError(f"{path} must be a YAML mapping with at least a name")
    kinds = {f.name: f.type for f in dataclasses.fields(Card)}
    for key, value in content.items():
        if key not in kinds:
            raise ValueError(f"{path}: unknown field {key!r}; known: {', '.join(kinds)}")
        expected: Any = {"threads": int, "aliases": list, "conditions": dict, "simulated": bool}.get(key, (str, object))
        if not isinstance(value, expected) or (key == "threads" and isinstance(value, bool)):
            raise ValueError(f"{path}: field {key} is {value!r}, expected a {expected.__name__}")
        if isinstance(expected, tuple):  # YAML reads an unquoted date or version as something else than text
            content[key] = "" if value is None else str(value)
    return Card(**content | {"aliases": tuple(map(str, content.get("aliases", ())))})


def write_card(path: Path, card: Card) -> None:
    """Write a card, atomically."""
    fields = dataclasses.asdict(card) | {"aliases": list(card.aliases)}
    write_text(path, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=100))
