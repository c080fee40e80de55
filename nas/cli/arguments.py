"""From the words behind a verb to Hydra's arguments: what is typed is taken as typed.

Text (paths, names, URLs, budgets) is quoted, so that Hydra never reads it as a number, a boolean, null or an
expression; ``~`` at the start of a path is the home folder.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Collection
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_tables.files import shown
from nas.cli.config import PATHS, SETTINGS, text_keys
from nas.cli.flags import FLAGS, CommandLine, flag_of, quote
from nas.cli.overrides import GROUPS, check_overrides, chosen, parse_override, text_of
from nas.cli.verb import Verb
from nas.errors import MissingExtra
from nas.pipeline.settings import SETTINGS_FILE, RunSettings, by_key, read_settings, to_plain
from nas.shipped import usual_supernet
from nas.shipped.conf import choices, read_choice, set_by_experiment

if TYPE_CHECKING:
    from nas.devices import Device

# What a search that is answered by a former one (--from) may be told; the rest is as it was there.
ASKED_AGAIN = {"former", "budget", "confidence", "seed", "name", "json", "runs", "hydra"}
# Of a measuring, what the command that follows it has not in common with it.
OF_ONE_MEASURING = {"device", "samples", "suggest", "again", "source", "seed", "name", "json"}
# What starts the runs of a sweep in other processes or on a cluster: its package, and the extra that brings it.
_SUBMITIT = ("hydra-submitit-launcher", "slurm")
_LAUNCHERS = {
    "joblib": ("hydra-joblib-launcher", "sweeps"),
    "submitit_local": _SUBMITIT,
    "submitit_slurm": _SUBMITIT,
}
# Hydra's functions that make several values, each its own run.
_SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(")


def hydra_arguments(verb: Verb, line: CommandLine) -> list[str]:
    """Hydra's flags first, then all overrides: ours, then the typed ones.

    Raises
    ------
    ValueError : something that cannot be, or is refused.
    MissingExtra : the launcher of a sweep is not installed.
    """
    overrides = [_typed_as_typed(text, verb, line) for text in line.overrides]
    check_overrides(line.hydra, overrides)
    _check_choices(overrides)
    _check_launcher(overrides, line)
    if line.positional:
        if verb.positional is None or len(line.positional) > 1:
            word = shown(line.positional[-1])
            raise ValueError(f"{word!r} is neither a flag nor key=value; see nas {verb.name} --help")
        overrides.insert(0, f"{verb.positional[0]}={quote(os.path.expanduser(line.positional[0]))}")
    elif verb.positional and not (line.shows_config or line.resume or sets(overrides, verb.positional[0])):
        raise ValueError(f"which run? type: nas {verb.name} {verb.positional[1]}")
    if former(line) is not None:
        keys = [override.partition("=")[0].lstrip("+~") for override in overrides]
        if others := [key for key in keys if re.split(r"[./]", key)[0] not in ASKED_AGAIN]:
            raise ValueError(
                "--from answers by what the former search learnt, with its settings; only a budget, --confidence and "
                f"--seed can be given: leave {flag_of(others[0])} out"
            )
    elif verb.name == "search" and line.resume is None and (usual := usual_supernet(_given(overrides))):
        overrides.insert(0, f"supernet={usual}")
    if line.out is not None and verb.name == "export":
        overrides.append(f"out={quote(os.path.expanduser(line.out))}")
    if not line.multirun:
        for override in overrides:
            key, _, value = override.partition("=")
            if key.startswith("budget.") and "," in value and "=" not in value:
                budgets = shown(value.strip("'"))
                raise ValueError(
                    f"{budgets} is a sweep over several budgets; add -m to run one search for each"
                    + (", or say which device's is which: --latency cpu=10ms,pixel=20ms" if "latency" in key else "")
                )
    return [*line.hydra, *overrides]


def recorded_settings(verb: Verb, line: CommandLine) -> RunSettings[Any] | None:
    """The settings of the run that is continued (--resume) or asked again (--from); None where there is none.

    Raises
    ------
    ValueError : there are none, they are not valid, or what was typed does not go with them.
    """
    past = former(line)
    if line.shows_config or (line.resume is None and past is None):
        return None
    if sets([text.lstrip("+") for text in line.overrides], "experiment"):
        raise ValueError("a run goes on with its own settings; leave experiment= out")
    if line.resume is not None:
        if line.multirun:
            raise ValueError("--resume goes on with one run; leave -m out")
        if line.out is not None:
            raise ValueError("--resume goes on in the run's own folder; leave --out out")
        return _inside(read_settings(Path(line.resume).expanduser(), verb.name, SETTINGS[verb.name]), line)
    folder = Path(str(past))
    # One device of a fleet, and one precision, has the settings of the whole search in the folder above.
    above = not (folder / SETTINGS_FILE).is_file() and (folder.parent / SETTINGS_FILE).is_file()
    recorded = read_settings(folder.parent if above else folder, verb.name, SETTINGS[verb.name])
    # What that search started from is not needed any more, and with --from it would be a second start.
    started = dict.fromkeys(("supernet", "model", "weights", "init", "storage"))
    return _inside(replace(recorded, settings=replace(recorded.settings, **started)), line)


def _inside(recorded: RunSettings[Any], line: CommandLine) -> RunSettings[Any]:
    """Settings of a run folder, which may come from elsewhere, that lead to nothing outside this folder."""
    for key in beyond(recorded.settings):
        if not sets(line.overrides, key):
            raise ValueError(
                f"the run was told {key}={shown(getattr(recorded.settings, key))}, which {_BEYOND[key][1]}; to allow "
                f"it, type {key}= again" + (", with its password if it has one" if key == "storage" else "")
            )
    return recorded


def beyond(settings: Any) -> list[str]:
    """Settings that are typed again when a run is continued, since its folder may have been made by somebody else."""
    given = {key: getattr(settings, key, None) for key in _BEYOND}
    return [key for key, value in given.items() if value is not None and not _BEYOND[key][0](value)]


def _is_below(path: str) -> bool:
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def _is_file_below(url: str) -> bool:
    """Whether a database is a plain file of SQLite; any other URL may lead anywhere."""
    found = re.fullmatch(r"sqlite:///([\w./ -]+)", url)
    return found is not None and _is_below(found[1])


def _is_no_code(model: str) -> bool:
    return model.startswith(("torchvision:", "timm:")) or model.endswith(".pt2")


_BEYOND: dict[str, tuple[Callable[[str], bool], str]] = {
    "runs": (_is_below, "is outside this folder"),
    "storage": (_is_file_below, "is outside this folder"),
    "model": (_is_no_code, "is code that is run"),
}
"""What is harmless, and what the rest is."""


def as_typed(settings: Any, left_out: Collection[str]) -> list[str]:
    """The settings that differ from their defaults as the words to type them with; the groups `left_out` are not."""
    words: list[str] = []
    usual, flags = by_key(to_plain(type(settings)())), {flag.key: flag for flag in FLAGS.values()}
    for key, value in by_key(to_plain(settings)).items():
        if value == usual.get(key) or key.partition(".")[0] in left_out:
            continue
        if key == "space.name" and value in choices("space"):
            words += ["--space", value]
            usual |= {f"space.{name}": option for name, option in read_choice("space", value).items()}
        elif key in flags:
            words += [f"--{flags[key].name}"] if value is True else [f"--{flags[key].name}", _as_text(value)]
        else:
            words.append(f"{key}={_as_text(value)}")
    return words


def measure_command(settings: Any, device: "Device", *words: str) -> str:
    """The `nas measure` of a device that has the settings of this `nas measure` or `nas fit`, with `words` behind it.

    Where nothing can be measured on the device, it is the one that takes latencies from a file.
    """
    words = words if device.can_measure else ("--import", "FILE")
    return shlex.join(["nas", "measure", "--device", device.name, *as_typed(settings, OF_ONE_MEASURING), *words])


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def former(line: CommandLine) -> str | None:
    """The run that --from names."""
    found = [text for text in line.overrides if text.partition("=")[0] == "former"]
    return os.path.expanduser(text_of(parse_override(found[-1]).value())) if found else None


def sets(overrides: list[str], key: str) -> bool:
    """Whether one of the overrides sets `key`."""
    return any(override.partition("=")[0] == key for override in overrides)


def _given(overrides: list[str]) -> set[str]:
    """The settings that are set by what was typed, an experiment's included."""
    found = set()
    for text in overrides:
        key = text.lstrip("+~").partition("=")[0]
        if key == "experiment":
            found |= set().union(*(set_by_experiment(name) for name in _names(text)))
        found.add(key)
    return found


def _typed_as_typed(override: str, verb: Verb, line: CommandLine) -> str:
    """An override whose value is quoted where its setting is text."""
    word, equals, value = override.partition("=")
    key = word.lstrip("+~")
    if not equals or key not in text_keys(SETTINGS[verb.name]):
        return override
    # A flag of text has been quoted already; null is how Hydra spells "not given".
    if value == "null" or value[:1] in ("'", '"') or (line.multirun and _SWEEP.match(value)):
        return override if key not in PATHS else _home(word, value)
    parts = value.split(",") if line.multirun else [value]
    if key in PATHS:
        parts = [os.path.expanduser(part) for part in parts]
    return f"{word}={','.join(map(quote, parts))}"


def _home(word: str, value: str) -> str:
    """A quoted path with ``~`` at its start as the home folder."""
    inner = value[1:-1]
    return f"{word}={quote(os.path.expanduser(inner))}" if re.match(r"~[\w/]*$|~[\w]*/", inner) else f"{word}={value}"


def _check_choices(overrides: list[str]) -> None:
    """Refuse the name of a recipe, space, data set or experiment that there is not."""
    for text in overrides:
        key = text.lstrip("+").partition("=")[0]
        if key in GROUPS:
            known = choices(key)
            if not (names := _names(text)):
                raise ValueError(f"{shown(text)} names none of {', '.join(known)}")
            for name in names:
                if name not in known:
                    hint = f", or a folder of images: --data ./{shown(name)}" if key == "data" else ""
                    raise ValueError(f"unknown {key} {shown(name)!r}; known: {', '.join(known)}{hint}")


def _names(override: str) -> Collection[str]:
    """The names that the override of a group chooses, several in a sweep."""
    value = override.partition("=")[2]
    return sorted(chosen(parse_override(override))) if "(" in value else value.strip("'\"").split(",")


def _check_launcher(overrides: list[str], line: CommandLine) -> None:
    """Refuse a launcher without a sweep, which Hydra would pass over in silence, and one that is not installed."""
    for text in overrides:
        key, _, value = text.lstrip("+").partition("=")
        launchers = [value.strip("'\"")] if key == "hydra/launcher" else []
        if key == "experiment":
            said = [choice for name in _names(text) for choice in read_choice(key, name).get("defaults", [])]
            pairs = [pair for choice in said if isinstance(choice, dict) for pair in choice.items()]
            launchers = [name for group, name in pairs if group.endswith("hydra/launcher")]
        for package, extra in (_LAUNCHERS[name] for name in launchers if name in _LAUNCHERS):
            if not (line.multirun or line.shows_config):
                raise ValueError(f"{shown(text)} is for the runs of a sweep; add -m, or leave it out to run here")
            try:
                version(package)
            except PackageNotFoundError:
                raise MissingExtra(package, extra) from None
