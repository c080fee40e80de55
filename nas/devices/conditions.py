"""What all latencies of one table have in common: runtime, threads, core, program, processor, board.

They are compared as words, as a device's card writes them; what is not said is not compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from latency_tables.card import Card
from latency_tables.files import check_value
from nas.devices import agent
from nas.devices.events import Machine
from nas.devices.spec import DeviceSpec

USUAL = "the usual one"


def conditions_wanted(spec: DeviceSpec) -> dict[str, str]:
    """The conditions that a device's card asks for."""
    said = {"runtime": spec.runtime, "threads": str(spec.threads or "")}
    if spec.transport != "none":
        # A command says itself where it runs; earlier versions stored a core that it did not know of.
        said |= {"core": "" if spec.command else _core(spec.core), "program": spec.program or USUAL}
    return {name: text for name, text in said.items() if text}


def conditions_of(card: Card) -> dict[str, str]:
    """The conditions that a latency table was measured under, as far as its card says them."""
    about = card.conditions
    said = {"runtime": card.runtime, "threads": str(card.threads or "")}
    said |= {"processor": processor_of(about), "board": _word(about, "board")}
    if "first_core" in about:
        said["core"] = _core(about["first_core"])
    if "programs" in about:
        said["program"] = next((text for text in _programs(about) if not _leads_there(text)), USUAL)
    return {name: text for name, text in said.items() if text}


def address_of(card: Card) -> str:
    """Where the device was when its table was measured; empty where its card does not say."""
    hosts = (text.removeprefix("ssh ") for text in _programs(card.conditions) if text.startswith("ssh "))
    return str(card.conditions.get("address") or next(hosts, ""))


def contradiction(
    before: Mapping[str, str], now: Mapping[str, str], names: Sequence[str] | None = None
) -> tuple[str, str] | None:
    """Where both say something else: in words, what the one says and what the other; None where they agree.

    Parameters
    ----------
    names : the conditions that are compared; None for all.
    """
    wrong = [name for name in names or before if name in before and now.get(name, before[name]) != before[name]]
    if not wrong:
        return None
    first, second = (", ".join(f"{name}: {said[name]}" for name in wrong) for said in (before, now))
    return first, second


def processor_of(machine: Mapping[str, Any]) -> str:
    """The processor of a machine that networks run on."""
    return _word(machine, "gpu") or _word(machine, "cpu")


def machine_here(runtime: str) -> dict[str, Any]:
    """What this machine is, as a measurement with `runtime` would store it; empty where it cannot be found."""
    if runtime.endswith("cuda"):
        return {"gpu": agent.gpu()}
    return asdict(check_value(agent.machine(), Machine, "what this machine says of itself"))


def other_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    """Where these are two machines: what the one is and what the other; None where they may be the same.

    Their GPUs are compared, else their boards, else their processors: the first of these that both say. Boards of one
    maker have the same word for different processors.
    """
    for kind in ("gpu", "board", "cpu"):
        first, second = _word(before, kind), _word(now, kind)
        if first and second:
            # Where the system has no word for the processor, it is that of the board.
            same = first == second or (kind == "cpu" and first == _word(now, "board"))
            return None if same else (first, second)
    return None


def _word(machine: Mapping[str, Any], kind: str) -> str:
    """The name of its GPU (without the driver's version, which changes), board or processor."""
    word = str(machine.get(kind) or "")
    return word.partition(",")[0] if kind == "gpu" else word


def _core(core: Any) -> str:
    return "the idlest" if core is None else "none" if core == -1 else str(core)


def _programs(about: Mapping[str, Any]) -> list[str]:
    programs = about.get("programs")
    return [str(text) for text in programs] if isinstance(programs, list) else []


def _leads_there(program: str) -> bool:
    """Whether it is a way to the device, not what runs there; see `DeviceSpec.programs`."""
    return program.startswith("ssh ") or (program.startswith("what ") and program.endswith(" names"))
