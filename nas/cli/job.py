"""One job of a verb: its settings made and checked, its run folder held, the verb run, its end told.

A job prints one sentence instead of raising into Hydra, and its exit code travels through a small file, because a
launcher may run it in another process.
"""

import importlib
import json
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from latency_tables.files import write_text
from nas.cli import interrupted
from nas.cli.arguments import beyond
from nas.cli.call import Call
from nas.cli.config import SETTINGS, FinetuneConfig, WorkerConfig
from nas.cli.console import remarks
from nas.cli.flags import flag_of
from nas.cli.outcome import fail, outcome
from nas.cli.overrides import parse_override, typed_recipe
from nas.cli.verb import VERBS
from nas.errors import Failure
from nas.pipeline.check import check_accelerator, check_length, check_request
from nas.pipeline.completed import completed
from nas.pipeline.passwords import hide_passwords
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.pipeline.run_folder import held_run_folder
from nas.pipeline.settings import RunSettings, from_plain
from nas.pipeline.usual_finetuning import as_its_supernet
from nas.progress import Listener
from nas.shipped.conf import set_by_experiment

CODES_FOLDER = "NAS_EXIT_CODES"
"""Variable of the environment: the folder where each job writes how it ended."""


@dataclass(frozen=True)
class Ended:
    """A job that is done.

    Attributes
    ----------
    code : its exit code.
    sentence : why it is not 0; empty where it is.
    folder : its run folder; empty if it had none.
    overrides : what it was told, like ``budget.latency=10ms``.
    """

    code: int
    sentence: str
    folder: str
    overrides: list[str]


class Job:
    """The task function of one verb; picklable, so that launchers can run it elsewhere.

    Parameters
    ----------
    verb : its name.
    recorded : the settings of the run that is continued or asked again.
    resume : the folder of the run that is continued.
    out : the folder that was named for the results.
    storages : typed URLs of databases with their passwords, by the URL without.
    """

    def __init__(
        self,
        verb: str,
        recorded: RunSettings[Any] | None = None,
        resume: Path | None = None,
        out: Path | None = None,
        storages: Mapping[str, str] | None = None,
    ) -> None:
        self.verb, self.recorded, self.resume, self.out = verb, recorded, resume, out
        self.storages = storages or {}
        self.__name__ = verb  # Hydra names the job after its function.
        self.__module__ = __name__

    def __call__(self, config: DictConfig) -> int:
        """Run the verb with what Hydra composed; the exit code."""
        hydra_config = HydraConfig.get()
        folders: list[Path] = []
        code, sentence = guarded(self.verb, lambda: self._run(config, folders))
        if codes := os.environ.get(CODES_FOLDER):
            folder = str(folders[0]) if folders else hydra_config.runtime.output_dir
            number = hydra_config.job.num if hydra_config.mode == RunMode.MULTIRUN else 0
            ended = Ended(code, sentence, folder, list(hydra_config.overrides.task))
            _write(ended, Path(codes) / f"{number}.json")
        return code

    def _run(self, config: DictConfig, folders: list[Path]) -> int:
        hydra_config = HydraConfig.get()
        verb = VERBS[self.verb]
        typed = frozenset(parse_override(text).key_or_group for text in hydra_config.overrides.task)
        given = {key: flag_of(key) for key in sorted(typed)}
        call = Call(Path(), shlex.join(["nas", self.verb, *hydra_config.overrides.task]), typed)
        plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        settings = from_plain(SETTINGS[self.verb], plain)
        if self.recorded is not None:
            # A folder that is typed anew says where the images are now; how they are read stays.
            keys = typed - {"data"} | {"data.name", "data.root"} if "data" in typed else typed
            speed = {"budget.latency", "budget.throughput"}  # the one that is typed takes the other's place
            settings = self.recorded.with_typed(settings, keys | speed if keys & speed else keys)
            if self.resume is not None and not typed:
                call = replace(call, command=self.recorded.command)
        if "experiment" in typed:
            name = hydra_config.runtime.choices["experiment"]
            given = dict.fromkeys(sorted(set_by_experiment(name)), f"experiment={name}") | given
        check_length(given)
        if isinstance(settings, TrainRequest):
            images = call.given_data(plain["data"])
            recipe = typed_recipe(plain["recipe"], typed)
            told = Listener(say=remarks.print)
            settings = completed(settings, given, images, recipe, told, recorded=self.recorded is not None)
        if isinstance(settings, FinetuneConfig):
            check_accelerator(settings.accelerator)
        if isinstance(settings, FinetuneConfig) and self.recorded is None:
            settings, sentence = as_its_supernet(settings, Path(settings.run), typed)
            remarks.print(sentence, soft_wrap=True, markup=False)
        if isinstance(settings, SearchRequest | WorkerConfig) and settings.storage is not None:
            settings = replace(settings, storage=self.storages.get(settings.storage, settings.storage))
        check_request(settings)
        # A search from a former one needs little of what a search imports, and is to be answered within a second.
        name = "search_from" if isinstance(settings, SearchRequest) and settings.former is not None else self.verb
        if not verb.run_folder:
            code: int = importlib.import_module(f"nas.cli.verbs.{name}").run(settings, call)
            return code
        named = Path(hydra_config.runtime.output_dir) if hydra_config.mode == RunMode.MULTIRUN else self.out
        run = RunSettings(self.verb, settings, call.command)
        again = [f"{key}={hide_passwords(getattr(settings, key))}" for key in beyond(settings)]
        note = partial(interrupted.note_run, self.verb, again=again)
        with held_run_folder(run, named, self.resume, note=note) as folder:
            folders.append(folder)
            return int(importlib.import_module(f"nas.cli.verbs.{name}").run(settings, replace(call, folder=folder)))


def _write(ended: Ended, path: Path) -> None:
    """Write how a job ended, for the process that started it.

    Raises
    ------
    Failure : the job failed, and the folder is not on this machine, so the launcher has to tell.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps(asdict(ended)) + "\n")
    except OSError:
        if ended.code:
            raise Failure(ended.sentence or f"exit code {ended.code}") from None


def guarded(verb: str, job: Callable[[], int]) -> tuple[int, str]:
    """Run `job`; a failure becomes an exit code and one sentence, which is shown.

    Ctrl-C is left to the caller: it ends a sweep, not only the run that it comes in.
    """
    try:
        return job(), ""
    except Exception as error:
        code, sentence = outcome(error)
        further = interrupted.how_to_go_on() if isinstance(error, OSError | Failure) else ""
        return fail(verb, sentence + further, code), sentence
