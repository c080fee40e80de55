"""Each verb as a Hydra application, and each way to end as an exit code.

Hydra keeps what it is good at: composing the configuration, multirun, launchers, `.hydra/` in every run
folder. A job never raises into Hydra: it prints one sentence, and its exit code travels through a small
file, because a launcher may run it in another process.
"""

import importlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.cli.call import Call
from nas.cli.config import SCHEMAS
from nas.cli.flags import CommandLine, quote
from nas.cli.overrides import check_overrides, parse_override
from nas.cli.verb import Verb
from nas.errors import BudgetMissed, Failure, InfeasibleBudget
from nas.pipeline.settings import SETTINGS_FILE, RunSettings, read_settings
from nas.shipped import DEFAULT, shipped_supernets

EXIT_OK, EXIT_OTHER, EXIT_BAD_ARGUMENT, EXIT_INFEASIBLE, EXIT_MISSED = 0, 1, 2, 3, 4

# The predictors' matrices are small: one BLAS thread is fastest, and the only one that is fast on a busy machine.
# Read when NumPy is first imported, which the verbs do; torch has threads of its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Read when torch is first imported. Threads that wait for others by spinning take the cores from them where other
# programs run too: a step of 2 s took 74 s (experiments/training_speed).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

# Whoever sets one of these has said what a search starts from.
_STARTS = {"supernet", "data", "space", "recipe", "experiment", "evaluations", "storage"}

_CODES_FILE = "NAS_EXIT_CODES"


def run_verb(verb: Verb, line: CommandLine) -> int:
    """Run one verb with what was typed behind it; return the exit code (of a sweep, the worst)."""
    try:
        arguments = _hydra_arguments(verb, line)
        recorded = _recorded(verb, line)
    except ValueError as error:
        return _fail(verb.name, str(error), EXIT_BAD_ARGUMENT)
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema)
    with tempfile.TemporaryDirectory() as folder:
        codes = Path(folder) / "codes"
        os.environ[_CODES_FILE] = str(codes)
        # Hydra then raises instead of printing a page and exiting with 1.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        sys.argv = [f"nas {verb.name}", *arguments]
        task = hydra.main(version_base="1.3", config_path="pkg://conf", config_name=verb.name)(
            _Job(verb.name, recorded)
        )
        try:
            task()
        except (HydraException, OmegaConfBaseException) as error:
            return _fail(verb.name, _one_sentence(error), EXIT_BAD_ARGUMENT)
        except KeyboardInterrupt:
            return _fail(verb.name, "interrupted; what was finished is kept", EXIT_OTHER)
        finally:
            del os.environ[_CODES_FILE]
        ended = [Ended(**json.loads(line)) for line in codes.read_text().splitlines()] if codes.exists() else []
    if line.multirun and verb.name == "search" and len(ended) > 1:
        # Looked up only now, as in `_Job`: it imports what a verb needs.
        show_sweep = importlib.import_module("nas.cli.verbs.search").show_sweep
        show_sweep(ended, shlex.join(["nas", verb.name, *arguments]), quiet=_sets(line.overrides, "json"))
    return max((job.code for job in ended), default=EXIT_OK)


@dataclass(frozen=True)
class Ended:
    """A job that is done.

    Attributes
    ----------
    code : its exit code.
    sentence : why it is not 0; empty where it is.
    folder : its run folder.
    overrides : what it was told, like ``budget.latency=10ms``.
    """

    code: int
    sentence: str
    folder: str
    overrides: list[str]


class _Job:
    """The task function of one verb; picklable, so that launchers can run it elsewhere."""

    def __init__(self, verb: str, recorded: RunSettings[Any] | None = None) -> None:
        self.verb = verb
        self.recorded = recorded
        self.__name__ = verb  # Hydra names the job after its function.
        self.__module__ = __name__

    def __call__(self, config: DictConfig) -> int:
        code, sentence = _guarded(self.verb, lambda: self._run(config))
        hydra_config = HydraConfig.get()
        folder = Path(hydra_config.runtime.output_dir)
        if code in (EXIT_BAD_ARGUMENT, EXIT_INFEASIBLE):
            _remove_if_empty(folder)
        if codes := os.environ.get(_CODES_FILE):
            ended = Ended(code, sentence, str(folder), list(hydra_config.overrides.task))
            with open(codes, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(ended)) + "\n")
        return code

    def _run(self, config: DictConfig) -> int:
        settings: Any = OmegaConf.to_object(config)
        hydra_config = HydraConfig.get()
        typed = frozenset(parse_override(text).key_or_group for text in hydra_config.overrides.task)
        command = shlex.join(["nas", self.verb, *hydra_config.overrides.task])
        call = Call(Path(hydra_config.runtime.output_dir), command, typed)
        if self.recorded is not None:
            settings = self.recorded.with_typed(settings, typed)
            call = replace(call, typed=typed | self.recorded.typed)
        if hydra_config.output_subdir is not None:  # of a verb that has a run folder
            RunSettings(self.verb, settings, call.typed, call.command).write(call.folder)
        # A search from a former one needs little of what a search imports, and is to be answered within a second.
        name = "search_from" if self.verb == "search" and settings.former is not None else self.verb
        code: int = importlib.import_module(f"nas.cli.verbs.{name}").run(settings, call)
        return code


def _remove_if_empty(folder: Path) -> None:
    """Remove a run folder in which nothing was done, so that refused requests leave no litter."""
    if folder.is_dir() and {path.name for path in folder.iterdir()} <= {".hydra", SETTINGS_FILE}:
        shutil.rmtree(folder, ignore_errors=True)


def _guarded(verb: str, job: Callable[[], int]) -> tuple[int, str]:
    """Run `job`; a failure becomes an exit code and one sentence, which is shown (NAS_DEBUG=1 shows the traceback)."""
    try:
        return job(), ""
    except (Exception, KeyboardInterrupt) as error:
        code, sentence = outcome(error)
        return _fail(verb, sentence, code), sentence


def outcome(error: BaseException) -> tuple[int, str]:
    """The exit code and the sentence that an error ends with."""
    match error:
        case InfeasibleBudget():
            return EXIT_INFEASIBLE, str(error)
        case BudgetMissed():
            return EXIT_MISSED, str(error)
        case ValueError() | OmegaConfBaseException():
            return EXIT_BAD_ARGUMENT, _one_sentence(error)
        case KeyboardInterrupt():
            return EXIT_OTHER, "interrupted; what was finished is kept, go on with --resume RUN"
        case OSError():
            where = f" ({error.filename})" if error.filename else ""
            return EXIT_OTHER, f"{error.strerror or error}{where}; what was finished is kept"
        case Failure():
            return EXIT_OTHER, str(error)
        case _:
            return EXIT_OTHER, f"{type(error).__name__}: {error} (NAS_DEBUG=1 shows where)"


def _fail(verb: str, message: str, code: int) -> int:
    if os.environ.get("NAS_DEBUG"):
        traceback.print_exc()
    print(f"nas {verb}: {message}", file=sys.stderr)
    return code


def _hydra_arguments(verb: Verb, line: CommandLine) -> list[str]:
    """Hydra's flags first, then all overrides: those of the resumed run, ours, the typed ones."""
    check_overrides(line.hydra, line.overrides)
    overrides = list(line.overrides)
    if line.positional:
        if verb.positional is None or len(line.positional) > 1:
            raise ValueError(f"{line.positional[-1]!r} is neither a flag nor key=value; see nas {verb.name} --help")
        overrides.insert(0, f"{verb.positional[0]}={quote(line.positional[0])}")
    elif verb.positional and not (line.shows_config or line.resume or _sets(overrides, verb.positional[0])):
        raise ValueError(f"which run? type: nas {verb.name} {verb.positional[1]}")
    if _former(line) is not None:
        if _sets(line.overrides, "device"):
            raise ValueError("--from answers for the device of the former search; leave --device out")
    elif verb.name == "search" and line.resume is None and DEFAULT in shipped_supernets():
        told = {override.partition("=")[0].lstrip("+~").partition(".")[0] for override in overrides}
        if not told & _STARTS:
            overrides.insert(0, f"supernet={DEFAULT}")
    if line.resume is not None:
        overrides.append(f"hydra.run.dir={quote(line.resume)}")
    elif line.out is not None and verb.name == "export":
        overrides.append(f"out={quote(line.out)}")
    elif line.out is not None:
        overrides.append(f"hydra.{'sweep' if line.multirun else 'run'}.dir={quote(line.out)}")
    if not line.multirun:
        for override in line.overrides:
            key, _, value = override.partition("=")
            if key.startswith("budget.") and "," in value and "=" not in value:
                budgets = value.strip("'")
                raise ValueError(
                    f"{budgets} is a sweep over several budgets; add -m to run one search for each"
                    + (", or say which device's is which: --latency cpu=10ms,pixel=20ms" if "latency" in key else "")
                )
    return [*line.hydra, *overrides]


def _recorded(verb: Verb, line: CommandLine) -> RunSettings[Any] | None:
    """The settings of the run that is continued (--resume) or asked again (--from); None where there is none."""
    former = _former(line)
    if line.shows_config or (line.resume is None and former is None):
        return None
    if any(_sets(line.overrides, key) for key in ("experiment", "+experiment")):
        raise ValueError("a run goes on with its own settings; leave experiment= out")
    if line.multirun and line.resume is not None:
        raise ValueError("--resume goes on with one run; leave -m out")
    if line.resume is not None:
        return read_settings(Path(line.resume), verb.name, SCHEMAS[verb.name])
    folder = Path(str(former))
    # One device of a fleet, and one precision, has the settings of the whole search in the folder above.
    above = not (folder / SETTINGS_FILE).is_file() and (folder.parent / SETTINGS_FILE).is_file()
    found = read_settings(folder.parent if above else folder, verb.name, SCHEMAS[verb.name])
    return replace(found, settings=replace(found.settings, json=False))


def _former(line: CommandLine) -> str | None:
    """The run that --from names."""
    found = [text for text in line.overrides if text.partition("=")[0] == "former"]
    return str(parse_override(found[-1]).value()) if found else None


def _sets(overrides: list[str], key: str) -> bool:
    return any(override.partition("=")[0] == key for override in overrides)


def _one_sentence(error: BaseException) -> str:
    """The gist of Hydra's and OmegaConf's many-line messages."""
    # Hydra wraps what is wrong with a value in what it was doing at the time.
    text = str(error.__cause__ or error) if str(error).startswith("Error merging override") else str(error)
    choice = re.search(r"Could not find '(?P<group>[^/']+)/(?P<name>[^']+)'", text)
    known = re.findall(r"^\t(\S+)$", text, flags=re.MULTILINE)
    if choice and known:
        return f"unknown {choice['group']} {choice['name']!r}; known: {', '.join(known)}"
    key = re.search(r"Could not override '(?P<key>[^']+)'", text)
    if key:
        return f"there is no setting {key['key']!r} here; --cfg job prints all of them"
    lines = [part.strip() for part in text.splitlines() if part.strip()]
    full_key = re.search(r"full_key: (\S+)", text)
    where = f"{full_key[1]}: " if full_key else ""
    return where + (lines[0] if lines else type(error).__name__)
