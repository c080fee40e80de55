"""The devices by name: cards one can measure on, and devices known by published figures."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from latency_tables.card import Card
from latency_tables.files import MAX_NAME, shown
from nas.devices.device import Device
from nas.devices.device_table import DEVICES_FOLDER, SHIPPED_TABLES, DeviceTable, card_of
from nas.devices.spec import DeviceSpec, read_spec
from nas.progress import SILENT, Listener
from nas.shipped.conf import CONF

OWN_CARDS = Path("devices")
_BASE = re.compile(r"-(\d{1,4})threads$")
SHIPPED_CARDS = CONF / "devices"


@dataclass(frozen=True)
class KnownDevice:
    """What `nas devices` shows of a device.

    Attributes
    ----------
    spec : its card.
    card : of what is stored or was published of it, None where there is nothing yet.
    spaces : names of the spaces that were measured on it, with the number of networks.
    problem : why its latency table cannot be read; empty where it can.
    """

    spec: DeviceSpec
    card: Card | None = None
    spaces: tuple[tuple[str, int], ...] = ()
    problem: str = ""

    @property
    def measurements(self) -> int:
        """Networks measured, over all spaces."""
        return sum(n for _, n in self.spaces)


def get_device(
    name: str,
    *,
    folder: Path = DEVICES_FOLDER,
    listener: Listener = SILENT,
    batch: int = 1,
    threads: int | None = None,
) -> Device:
    """The device called `name` (or one of its aliases).

    Parameters
    ----------
    name : of a card in ``devices/`` or shipped, or of a device with a shipped latency table.
    folder : where each device's own latency table lies, in a folder of its name.
    listener : is told of cards that cannot be read, and of programs that a card of one's own has run.
    batch : images an inference takes.
    threads : of an inference, where it is not what the card says; the device then has a table of its own, as
        ``<name>-4threads``.

    Raises
    ------
    ValueError : unknown name (lists the known ones), or its card is broken.
    """
    cards = _read_cards(folder)
    if name in cards.problems:
        raise ValueError(cards.problems[name])
    cards.warn(listener)
    if (spec := _named(name, cards.specs)) is not None:
        trusted = not {spec.name, _BASE.sub("", spec.name)} & cards.own
        if threads is not None and threads != spec.threads:
            spec = with_threads(spec, threads)
        return Device(spec, folder=folder / spec.name, listener=listener, batch=batch, trusted=trusted)
    names = sorted(spec.name for spec in cards.specs)
    close = difflib.get_close_matches(name[:MAX_NAME], names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ValueError(f"unknown device {shown(name)!r}{hint}; known: {shown(', '.join(names), 1_000)}")


def find_spec(name: str, folder: Path = DEVICES_FOLDER) -> DeviceSpec | None:
    """The card of the device of that name or alias; None where there is no such device yet.

    Raises
    ------
    ValueError : its card is broken.
    """
    cards = _read_cards(folder)
    if name in cards.problems:
        raise ValueError(cards.problems[name])
    return _named(name, cards.specs)


def device_specs(folder: Path = DEVICES_FOLDER, listener: Listener = SILENT) -> list[DeviceSpec]:
    """All cards: your own first (they may replace shipped ones), the shipped, imported and published devices.

    A card that cannot be read is left out, and `listener` is told why.
    """
    cards = _read_cards(folder)
    cards.warn(listener)
    return list(cards.specs)


def list_devices(*, folder: Path = DEVICES_FOLDER, listener: Listener = SILENT) -> list[KnownDevice]:
    """Every device with what is known of it; the tables are read, not checked against their spaces. Runs nothing."""
    found = []
    for spec in device_specs(folder, listener):
        stored = DeviceTable(spec, folder / spec.name)
        try:
            table, card = stored.read(), stored.card()
        except ValueError as error:
            listener.say(f"warning: {error}")
            found.append(KnownDevice(spec, problem=str(error)))
            continue
        if table is None:
            found.append(KnownDevice(spec, card))
            continue
        counts = table.rows["space"].value_counts(sort=False)
        found.append(KnownDevice(spec, card, tuple((str(label), int(n)) for label, n in counts.items())))
    return found


@dataclass(frozen=True)
class _Cards:
    """The cards that were found.

    Attributes
    ----------
    specs : those that can be used.
    own : names of those that did not come with the package.
    problems : why a card cannot be used, by the name of its file.
    """

    specs: tuple[DeviceSpec, ...]
    own: frozenset[str]
    problems: dict[str, str]

    def warn(self, listener: Listener) -> None:
        for problem in self.problems.values():
            listener.say(f"warning: {problem}; this card is left out")


def _read_cards(folder: Path) -> _Cards:
    specs: dict[str, DeviceSpec] = {}
    problems: dict[str, str] = {}
    own: dict[str, Path] = {}

    def take(name: str, read: Callable[[], DeviceSpec], mine: Path | None = None) -> None:
        try:
            spec = read()
        except ValueError as error:
            problems[name] = str(error)
            return
        if spec.name not in specs:
            specs[spec.name] = spec
            if mine is not None:
                own[spec.name] = mine
        elif mine is not None:
            problems[name] = f"{mine} has the name {spec.name}, as {own[spec.name]} has; give it another"

    for cards in (OWN_CARDS, SHIPPED_CARDS):
        for path in sorted((p for p in cards.glob("*") if p.suffix in (".yaml", ".yml")), key=lambda path: path.stem):
            take(path.stem, partial(read_spec, path), path if cards is OWN_CARDS else None)
    measurable = tuple(specs.values())
    for csv in [csv for csv in sorted(folder.glob("*/*.csv")) if csv.stem == csv.parent.name]:
        spec = _named(csv.stem, measurable)
        take(csv.stem, partial(_published_in, csv) if spec is None else partial(replace, spec))
    for path in sorted(SHIPPED_TABLES.glob("*.yaml")):
        take(path.stem, partial(_published_in, path))
    return _Cards(tuple(specs.values()), frozenset(own), problems)


def _named(name: str, specs: Sequence[DeviceSpec]) -> DeviceSpec | None:
    """The card of a name or alias, also of one with ``-4threads`` behind it; None if there is none."""
    by_name = {each: spec for spec in reversed(specs) for each in (*spec.aliases, spec.name)}
    if name in by_name:
        return by_name[name]
    base = by_name.get(_BASE.sub("", name))
    if base is None or base.transport == "none" or (match := _BASE.search(name)) is None:
        return None
    return with_threads(base, int(match[1]))


def with_threads(spec: DeviceSpec, threads: int) -> DeviceSpec:
    """The device on another number of threads, with a name of its own.

    Raises
    ------
    ValueError : it cannot have another.
    """
    if spec.transport == "none":
        raise ValueError(
            f"the figures of {spec.name} are published for {spec.threads} threads; leave --device-threads out"
        )
    if spec.command and "{threads}" not in spec.command:
        raise ValueError(f"the command of {spec.name} sets its threads itself; write {{threads}} in its card")
    return replace(spec, name=f"{_BASE.sub('', spec.name)}-{threads}threads", aliases=(), threads=threads)


def _published_in(table: Path) -> DeviceSpec:
    card = card_of(table)
    if card.name != table.stem:
        raise ValueError(f"{table}: its card says that the device is called {card.name}")
    return DeviceSpec(
        name=card.name,
        aliases=card.aliases,
        chip=card.chip,
        transport="none",
        runtime=card.runtime,
        precision=card.precision,
        threads=card.threads,
    )
