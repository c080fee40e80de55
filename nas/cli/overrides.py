"""What may be said to Hydra on the command line.

Hydra makes objects of what stands below `hydra.` (launcher, sweeper, callbacks, logging) and reads files from more
places when it is told so; such overrides could run any installed code. So only what a run needs is taken: the launcher
by its name, its plain values, and the folders. ``NAS_ALLOW_HYDRA=1`` in the environment lifts the restriction.
"""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException

from latency_tables.files import shown
from nas.shipped.conf import choices

SWITCH = "NAS_ALLOW_HYDRA"
LAUNCHERS = ("basic", "joblib", "submitit_local", "submitit_slurm")
GROUPS = ("data", "experiment", "recipe", "space")
FOLDERS = ("hydra.sweep.dir", "hydra.sweep.subdir")
PLAIN_FLAGS = ("--multirun", "-m", "--cfg", "-c", "--resolve", "--package", "-p", "--info", "--hydra-help")


def parse_override(text: str) -> Override:
    """One override, read by Hydra's own grammar.

    Raises
    ------
    ValueError : it is not ``key=value``.
    """
    try:
        override = OverridesParser.create().parse_override(text)
        if not override.key_or_group:
            raise ValueError("no key")
        return override
    except (HydraException, ValueError) as error:
        raise ValueError(f"{shown(text)} is not key=value as Hydra reads it; put quotes around the value") from error


def typed_recipe(recipe: Mapping[str, Any], typed: Collection[str]) -> dict[str, Any]:
    """The fields of a recipe that were typed, with their values; `typed` are keys of overrides."""
    return {key: value for key, value in recipe.items() if f"recipe.{key}" in typed}


def text_of(value: Any) -> str:
    """The text that a value of an override means; OmegaConf reads ``\\${`` as ``${``."""
    text = str(getattr(value, "text", value))
    return re.sub(r"(\\+)\$\{", lambda found: found[1][: len(found[1]) // 2] + "${", text)


def check_overrides(flags: Sequence[str], overrides: Sequence[str]) -> None:
    """Refuse what could run code or read a configuration from elsewhere.

    Parameters
    ----------
    flags : Hydra's own flags with their values.
    overrides : as typed, ``key=value``.

    Raises
    ------
    ValueError : the first that is refused; the sentence names the switch.
    """
    if os.environ.get(SWITCH) == "1":
        return
    for flag in flags:
        if flag.startswith("-") and flag not in PLAIN_FLAGS:
            raise ValueError(_refused(flag, "reads a configuration from another place"))
    for text in overrides:
        override = parse_override(text)
        if not _harmless(override):
            raise ValueError(_refused(text, "could run other code"))


def _harmless(override: Override) -> bool:
    key = override.key_or_group
    if override.package is not None or _names_a_target(override._value):
        return False
    if key in GROUPS:  # whose value names a file
        return all(re.fullmatch(r"\w[\w-]*|None", text) for text in chosen(override))
    if key == "hydra/launcher":
        return chosen(override) <= set(LAUNCHERS)
    if key.startswith("hydra.launcher."):
        return not isinstance(override._value, dict) and not key.rpartition(".")[2].startswith("_")
    if key in FOLDERS:
        return True
    first = key.replace("/", ".").partition(".")[0]
    return first != "hydra" and not any(part.startswith("_") for part in key.replace("/", ".").split("."))


def chosen(override: Override) -> set[str]:
    """The values that an override has, those of a sweep included, as texts; of a pattern the names that match it.

    Raises
    ------
    ValueError : it is an interval, which has no end of values.
    """
    value, key = override._value, override.key_or_group
    if isinstance(value, Glob):
        return set(value.filter(choices(key) if key in GROUPS else list(LAUNCHERS)))
    if isinstance(value, IntervalSweep):
        raise ValueError(f"{shown(str(override.input_line))} is an interval, and {key} takes names")
    if override.is_sweep_override():
        return {str(value) for value in override.sweep_string_iterator()}
    return {str(override.value())}


def _names_a_target(value: Any) -> bool:
    """Whether a key of a mapping anywhere in `value` is one that Hydra calls, like ``_target_``."""
    if isinstance(value, dict):
        return any(str(key).startswith("_") or _names_a_target(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return any(map(_names_a_target, value))
    # A sweep is an object that holds its values in `list` or `args`.
    return any(_names_a_target(getattr(value, name)) for name in ("list", "args") if hasattr(value, name))


def _refused(what: str, why: str) -> str:
    return f"{shown(what)} is refused, because it {why}; {SWITCH}=1 in the environment allows it"
