"""The devices of a request, and the files that they run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nas.devices import Device, get_device
from nas.devices.runtimes import file_kind
from nas.errors import MissingExtra
from nas.export.network_file import FileKind, check_formats, file_kinds
from nas.pipeline.request import SearchRequest
from nas.progress import SILENT, Listener
from search_spaces import SearchSpace

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


def file_kinds_of(
    request: SearchRequest, devices: Sequence[Device], space: SearchSpace | None = None
) -> list[FileKind]:
    """What to export, the devices' own kinds first; refuses what cannot be written here before anything is done.

    A network for a device that is not attached is exported to ONNX too, where that runs TFLite in float32; this is then
    left out where it cannot be written (see `not_written`).

    Parameters
    ----------
    space : of the networks, where it is known.
    """
    own = [kind for device in devices if (kind := _own(device)) is not None]
    spared = [_own(device) for device in devices if _may_be_spared(device)]
    usual = own[0] if own and own[0] not in spared else FileKind()
    asked = file_kinds(request.format or usual.format, request.precision or usual.precision)
    written = [kind for kind in own if kind not in spared or kind in asked or _why_not(kind, space) is None]
    kinds = list(dict.fromkeys([*written, *asked]))
    for kind in kinds:
        kind.require()
    return kinds


def not_written(devices: Sequence[Device], kinds: Sequence[FileKind], space: SearchSpace) -> list[str]:
    """A sentence for each device whose own kind of file is not among `kinds`, as it cannot be written here."""
    return [
        f"{device.name} runs TFLite files, and none was written: {_why_not(kind, space)}."
        for device in devices
        if (kind := _own(device)) is not None and kind not in kinds
    ]


def _own(device: Device) -> FileKind | None:
    return file_kind(device.spec.runtime, device.spec.precision)


def _may_be_spared(device: Device) -> bool:
    """Whether a search for it needs no file of its own kind: it is not run here, and ONNX says the same."""
    return not device.can_measure and _own(device) == FileKind("tflite")


def _why_not(kind: FileKind, space: SearchSpace | None) -> str | None:
    """Why networks of a space cannot be written so; None where they can."""
    try:
        kind.require()
        if space is not None:
            check_formats(space, [kind])
    except (MissingExtra, ValueError) as error:
        return str(error)
    return None


def one_or_each(devices: Sequence[Device], given: Mapping[str, T]) -> T | Mapping[str, T] | None:
    """What is given for the only device (None if it is not), or the mapping by name where there are several."""
    return given.get(devices[0].name) if len(devices) == 1 else given
