"""The card of a device one can measure on: how to reach it, what runs networks there, and how.

Cards are YAML files in `conf/devices/` (shipped) and in a folder `devices/` where the program is started (yours).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nas.devices.runtimes import RUNTIMES

TRANSPORTS = ("local", "ssh", "adb", "none")


@dataclass(frozen=True)
class DeviceSpec:
    """A device: transport, runtime, conditions.

    Attributes
    ----------
    name : as typed behind ``--device``.
    aliases : other names it answers to.
    chip : for people; a device that can be asked says it itself.
    transport : ``local``, ``ssh``, ``adb``, or ``none`` for a device known by published figures alone.
    runtime : what runs the networks; a key of `nas.devices.runtimes.RUNTIMES`.
    precision : of weights and activations.
    threads : CPU threads of one inference.
    core : first core to pin to; None takes the idlest, -1 does not pin.
    python : the interpreter on the device, where it is not the usual one.
    host : of ssh, as ssh takes it: ``user@host``, ``ssh://user@host:port`` or a name from its configuration.
    ssh_config : a configuration file for ssh (keys, jump hosts), where the user's own will not do.
    serial : of adb, where several phones are attached.
    folder : on the device, for models and the agent (ssh, adb); they are removed afterwards.
    command : of adb: a benchmark's command line there; ``{model}``, ``{threads}`` and ``{runs}`` are filled in.
        Empty runs the agent with `python`.
    """

    name: str
    aliases: tuple[str, ...] = ()
    chip: str = ""
    transport: str = "local"
    runtime: str = "onnxruntime"
    precision: str = "float32"
    threads: int = 1
    core: int | None = None
    python: str = ""
    host: str = ""
    ssh_config: str = ""
    serial: str = ""
    folder: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        where = f"device {self.name}"
        if self.transport not in TRANSPORTS:
            raise ValueError(f"{where}: unknown transport {self.transport!r}; known: {', '.join(TRANSPORTS)}")
        if self.transport != "none":
            if self.runtime not in RUNTIMES:
                raise ValueError(f"{where}: unknown runtime {self.runtime!r}; known: {', '.join(RUNTIMES)}")
            precisions = RUNTIMES[self.runtime].precisions
            if self.precision not in precisions:
                raise ValueError(f"{where}: {self.runtime} runs {' or '.join(precisions)}, not {self.precision!r}")
        if self.threads < 1 and self.transport != "none":
            raise ValueError(f"{where}: threads must be at least 1, got {self.threads}")
        if self.command and "{model}" not in self.command:
            raise ValueError(f"{where}: the command must say where the model goes, with {{model}}")
        if self.transport == "ssh" and not self.host:
            raise ValueError(f"{where}: a device behind ssh needs a host, like host: user@192.168.0.7")


def read_spec(path: Path) -> DeviceSpec:
    """Read a device card.

    Raises
    ------
    ValueError : not YAML, no name, an unknown field, or a value that cannot work; says which file.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        raise ValueError(f"{path} must be a YAML mapping with at least a name")
    kinds: dict[str, Any] = {"aliases": list, "threads": int, "core": (int, type(None))}
    known = [field.name for field in dataclasses.fields(DeviceSpec)]
    for key, value in content.items():
        if key not in known:
            raise ValueError(f"{path}: unknown field {key!r}; known: {', '.join(known)}")
        if not isinstance(value, kinds.get(key, str)):
            raise ValueError(f"{path}: field {key} cannot be {value!r}")
    try:
        return DeviceSpec(**content | {"aliases": tuple(content.get("aliases", ()))})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
