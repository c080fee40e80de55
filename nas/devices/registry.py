"""The devices by name: cards one can measure on, and devices known by published figures."""

from dataclasses import dataclass
from pathlib import Path

import conf
from latency_tables.card import Card, read_card
from latency_tables.table import read_rows
from nas.devices.device import Device
from nas.devices.device_table import DEVICES_FOLDER, SHIPPED_TABLES
from nas.devices.spec import DeviceSpec, read_spec

OWN_CARDS = Path("devices")
SHIPPED_CARDS = Path(conf.__file__).parent / "devices"


@dataclass(frozen=True)
class KnownDevice:
    """What `nas devices` shows of a device.

    Attributes
    ----------
    spec : its card.
    table : of its latencies, None where there is none yet.
    card : of that table.
    spaces : names of the spaces that were measured on it, with the number of networks.
    """

    spec: DeviceSpec
    table: Path | None = None
    card: Card | None = None
    spaces: tuple[tuple[str, int], ...] = ()

    @property
    def measurements(self) -> int:
        """Networks measured, over all spaces."""
        return sum(n for _, n in self.spaces)


def get_device(name: str, *, folder: Path = DEVICES_FOLDER) -> Device:
    """The device called `name` (or one of its aliases).

    Parameters
    ----------
    name : of a card in ``devices/`` or shipped, or of a device with a shipped latency table.
    folder : where each device's own latency table lies, in a folder of its name.

    Raises
    ------
    ValueError : unknown name (lists the known ones), or a broken card.
    """
    specs = device_specs(folder)
    for spec in specs:
        if name == spec.name or name in spec.aliases:
            return Device(spec, folder=folder / spec.name)
    raise ValueError(f"unknown device {name!r}; known: {', '.join(sorted(spec.name for spec in specs))}")


def device_specs(folder: Path = DEVICES_FOLDER) -> list[DeviceSpec]:
    """All cards: your own first (they may replace shipped ones), the shipped, imported and published devices."""
    specs: dict[str, DeviceSpec] = {}
    for cards in (OWN_CARDS, SHIPPED_CARDS):
        for path in sorted(cards.glob("*.yaml"), key=lambda path: path.stem):
            spec = read_spec(path)
            specs.setdefault(spec.name, spec)
    tables = [csv.with_suffix(".yaml") for csv in sorted(folder.glob("*/*.csv")) if csv.stem == csv.parent.name]
    for path in [*tables, *sorted(SHIPPED_TABLES.glob("*.yaml"))]:
        card = read_card(path)
        specs.setdefault(card.name, _published(card))
    return list(specs.values())


def list_devices(*, folder: Path = DEVICES_FOLDER) -> list[KnownDevice]:
    """Every device with what is known of it; the tables are read, not checked against their spaces."""
    found = []
    for spec in device_specs(folder):
        tables = (folder / spec.name / f"{spec.name}.csv", SHIPPED_TABLES / f"{spec.name}.csv")
        table = next((path for path in tables if path.exists()), None)
        if table is None:
            found.append(KnownDevice(spec))
            continue
        counts = read_rows(table)["space"].value_counts(sort=False)
        spaces = tuple((str(label), int(n)) for label, n in counts.items())
        found.append(KnownDevice(spec, table, read_card(table.with_suffix(".yaml")), spaces))
    return found


def _published(card: Card) -> DeviceSpec:
    return DeviceSpec(
        name=card.name,
        aliases=card.aliases,
        chip=card.chip,
        transport="none",
        runtime=card.runtime,
        precision=card.precision,
        threads=card.threads,
    )
