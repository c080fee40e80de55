"""The card of a device one can measure on: how to reach it, what runs networks there, and how.

Cards are YAML files, shipped with the package (`conf/devices/`) and in a folder `devices/` where the program is
started (yours). A card names programs that are run, here and on the device: trust one like a Makefile.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict

from latency_tables.card import device_name
from latency_tables.files import read_yaml, shown
from nas.devices.runtimes import RUNTIMES

TRANSPORTS = ("local", "ssh", "adb", "none")
ONE_TRANSPORTS = {"host": "ssh", "ssh_config": "ssh", "serial": "adb", "command": "adb"}
"""Fields that one transport alone uses."""


def _quoted(value: Any) -> Any:
    """YAML reads text of digits as a number, and not always the same one."""
    if isinstance(value, int | float):
        raise ValueError("must be text: put it in quotes")
    return value


Text = Annotated[str, BeforeValidator(_quoted)]


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
    core : first core to pin to; None takes the idlest of the fastest, -1 does not pin.
    python : the interpreter on the device, where it is not the usual one; ``~`` is expanded. It is run.
    host : of ssh, as ssh takes it: ``user@host``, ``ssh://user@host:port`` or a name from its configuration.
    ssh_config : a configuration file for ssh (keys, jump hosts), where the user's own will not do. What it names as
        ``ProxyCommand`` is run here.
    serial : of adb, where several phones are attached.
    folder : on the device, for models and the agent (ssh, adb); it must be there. What is put into it is removed
        afterwards.
    command : of adb: a benchmark's command line there; ``{model}``, ``{threads}``, ``{runs}`` and, for ncnn, the
        ``{resolution}`` are filled in: ``benchncnn {runs} {threads} 0 -1 0 param={model}
        shape=[{resolution},{resolution},3]``, which computes in float16. It is run by the phone's shell. Empty runs the
        agent with `python`.

    Raises
    ------
    ValueError : a value that cannot work.
    """

    name: Text
    aliases: tuple[Text, ...] = ()
    chip: Text = ""
    transport: Text = "local"
    runtime: Text = "onnxruntime"
    precision: Text = "float32"
    threads: int = 1
    core: int | None = None
    python: Text = ""
    host: Text = ""
    ssh_config: Text = ""
    serial: Text = ""
    folder: Text = ""
    command: Text = ""

    __pydantic_config__ = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        for name in (self.name, *self.aliases):
            device_name(name)
        where = f"device {self.name}"
        for field in ("python", "host", "ssh_config", "serial", "folder", "command"):
            value = getattr(self, field)
            if "\0" in value or (value.startswith("-") and field != "command"):
                raise ValueError(f"{where}: {field} cannot begin with - nor hold a zero byte, got {shown(value)!r}")
        if self.transport not in TRANSPORTS:
            raise ValueError(f"{where}: unknown transport {shown(self.transport)!r}; known: {', '.join(TRANSPORTS)}")
        if self.transport != "none":
            if self.runtime not in RUNTIMES:
                raise ValueError(f"{where}: unknown runtime {shown(self.runtime)!r}; known: {', '.join(RUNTIMES)}")
            precisions = RUNTIMES[self.runtime].precisions
            if self.precision not in precisions:
                raise ValueError(
                    f"{where}: {self.runtime} runs {' or '.join(precisions)}, not {shown(self.precision)!r}"
                )
        if self.threads < 1 and self.transport != "none":
            raise ValueError(f"{where}: threads must be at least 1, got {self.threads}")
        if self.core is not None and self.core < -1:
            raise ValueError(f"{where}: core must be a core's number, or -1 for none, got {self.core}")
        if self.command and "{model}" not in self.command:
            raise ValueError(f"{where}: the command must say where the model goes, with {{model}}")
        if "{resolution}" in self.command and self.runtime != "ncnn":
            raise ValueError(f"{where}: {{resolution}} is for ncnn; networks of {self.runtime} say it: leave it out")
        if self.transport == "ssh" and not self.host:
            raise ValueError(f"{where}: a device behind ssh needs a host, like host: user@192.168.0.7")
        for field, owner in ONE_TRANSPORTS.items():
            if getattr(self, field) and self.transport != owner:
                raise ValueError(
                    f"{where}: transport: {self.transport} does not use {field}; write transport: {owner}, or leave "
                    f"{field} out"
                )
        if self.command and self.core not in (None, -1):
            raise ValueError(f"{where}: core does not pin a command; leave it out, and write taskset into the command")

    @property
    def program(self) -> str:
        """What runs the networks there; empty for the usual interpreter."""
        return (self.command if self.transport == "adb" else "") or self.python

    @property
    def address(self) -> str:
        """Where the device is, as ssh or adb takes it; empty where the card does not say."""
        return {"ssh": self.host, "adb": self.serial}.get(self.transport, "")

    @property
    def programs(self) -> tuple[str, ...]:
        """What the card names to be run; empty where that is the interpreter of this program only."""
        found = {
            "local": [self.program],
            "ssh": [f"ssh {self.host}", self.program, f"what {self.ssh_config} names" if self.ssh_config else ""],
            "adb": [self.program],
        }
        return tuple(text for text in found.get(self.transport, []) if text)


def read_spec(path: Path) -> DeviceSpec:
    """Read a device card.

    Raises
    ------
    ValueError : not YAML, no name, an unknown field, or a value that cannot work; says which file.
    """
    return read_yaml(path, DeviceSpec)
