"""The devices of a request, and the files that they run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nas.devices import Device, get_device
from nas.devices.runtimes import file_kind
from nas.export.network_file import FileKind, file_kinds
from nas.pipeline.request import SearchRequest
from nas.progress import SILENT, Listener

T = TypeVar("T")


def named_devices(request: SearchRequest, listener: Listener = SILENT) -> list[Device]:
    """The devices of a request.

    Raises
    ------
    ValueError : an unknown one, or one that is named twice.
    """
    folder = Path(request.runs) / "devices"
    conditions: dict[str, Any] = {"batch": request.batch or 1, "threads": request.device_threads}
    devices = [
        get_device(name.strip(), folder=folder, listener=listener, **conditions) for name in request.device.split(",")
    ]
    names = [device.name for device in devices]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"--device {request.device} names {' and '.join(twice)} twice")
    if request.shared and len(devices) == 1:
        raise ValueError(f"--shared is for several devices; name them all, like --device {names[0]},pixel")
    return devices


def names_of(devices: Sequence[Device]) -> dict[str, tuple[str, ...]]:
    """The devices' names, each with its aliases."""
    return {device.name: device.spec.aliases for device in devices}


def file_kinds_of(request: SearchRequest, devices: Sequence[Device]) -> list[FileKind]:
    """What to export, the devices' own kinds first; refuses what cannot be written here before anything is done."""
    own = [kind for device in devices if (kind := file_kind(device.spec.runtime, device.spec.precision))]
    usual = own[0] if own else FileKind()
    asked = file_kinds(request.format or usual.format, request.precision or usual.precision)
    kinds = list(dict.fromkeys([*own, *asked]))
    for kind in kinds:
        kind.require()
    return kinds


def one_or_each(devices: Sequence[Device], given: Mapping[str, T]) -> T | Mapping[str, T] | None:
    """What is given for the only device (None if it is not), or the mapping by name where there are several."""
    return given.get(devices[0].name) if len(devices) == 1 else given
