"""Each verb as a Hydra application.

Hydra keeps what it is good at: composing settings, sweeps, launchers. The run folder and what lies in it are the
product's own.
"""

import importlib
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from latency_tables.files import shown
from latency_tables.scratch import scratch_folder
from latency_tables.writable import check_writable
from nas.cli import interrupted
from nas.cli.arguments import former, hydra_arguments, recorded_settings, sets
from nas.cli.config import SETTINGS, defaults
from nas.cli.console import remarks
from nas.cli.flags import CommandLine, quote
from nas.cli.job import CODES_FOLDER, Ended, Job
from nas.cli.outcome import EXIT_BAD_ARGUMENT, EXIT_OK, EXIT_OTHER, LONGEST, fail, one_sentence, outcome
from nas.cli.passwords import without_passwords
from nas.cli.settled import what_follows
from nas.cli.verb import Verb
from nas.errors import Failure
from nas.openmp import wait_without_spinning
from nas.pipeline.run_folder import new_run_folder
from nas.shipped.conf import CONF

# The predictors' matrices are small: one BLAS thread is fastest, and the only one that is fast on a busy machine.
# Read when NumPy is first imported, which the verbs do; torch has threads of its own.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

wait_without_spinning()


def run_verb(verb: Verb, line: CommandLine) -> int:
    """Run one verb with what was typed behind it; return the exit code (of a sweep, the worst)."""
    resume = None if line.resume is None else Path(line.resume).expanduser()
    out = None if line.out is None or not verb.run_folder else Path(line.out).expanduser()
    sweep = None
    interrupted.begin()
    try:
        arguments, storages = without_passwords(hydra_arguments(verb, line))
        recorded = recorded_settings(verb, line)
        if sets(arguments, "hydra.sweep.dir") and not line.multirun:
            raise ValueError(
                "hydra.sweep.dir is for the runs of a sweep; add -m, or name the run's folder: --out FOLDER"
            )
        if out is not None and sets(arguments, "hydra.sweep.dir"):
            raise ValueError("--out and hydra.sweep.dir= both name the folder of the sweep; leave one out")
        if out is not None:
            check_writable(out)
        if line.multirun and verb.run_folder and not sets(arguments, "hydra.sweep.dir"):
            sweep = out or new_run_folder(Path("runs") / verb.name, "sweep")
            interrupted.begin(["nas", verb.name, *arguments, "--out", str(sweep)])
            arguments.append(f"hydra.sweep.dir={quote(str(sweep))}")
    except ValueError as error:
        return fail(verb.name, str(error), EXIT_BAD_ARGUMENT)
    except HydraException as error:
        return fail(verb.name, one_sentence(error), EXIT_BAD_ARGUMENT)
    except (OSError, Failure) as error:
        code, sentence = outcome(error)
        return fail(verb.name, sentence, code)
    register_settings()
    with scratch_folder() as scratch:
        # The jobs of a sweep may run on other machines, which have its folder but not this one's temporary ones.
        codes = (sweep or scratch).absolute() / f".{scratch.name}"
        os.environ[CODES_FOLDER] = str(codes)
        # Hydra then raises instead of printing a page and exiting with 1.
        os.environ["HYDRA_FULL_ERROR"] = "1"
        sys.argv = [f"nas {verb.name}", *arguments]
        job = Job(verb.name, recorded, resume, out, storages)
        try:
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb.name)(job)()
            shown_whole = "job" in line.hydra and recorded is None and not line.multirun
            if shown_whole and (follows := what_follows(verb.name, arguments[len(line.hydra) :])):
                remarks.print(follows, soft_wrap=True, markup=False)
        except (HydraException, OmegaConfBaseException) as error:
            return fail(verb.name, one_sentence(error), EXIT_BAD_ARGUMENT)
        except KeyboardInterrupt:
            return fail(verb.name, interrupted.sentence(), EXIT_OTHER)
        except Exception as error:
            code, sentence = outcome(error)
            if sweep is not None and verb.name == "search":  # the launcher failed, or one of its jobs was killed
                sentence = f"{shown(sentence, LONGEST // 2)}; type: nas report {sweep}, when the other runs have ended"
            return fail(verb.name, sentence, code)
        finally:
            del os.environ[CODES_FOLDER]
            ended = _taken(codes)
    # What --from answers is told in full by each run, and no report is made of it.
    if line.multirun and verb.name == "search" and former(line) is None and len(ended) > 1:
        # Looked up only now, as in `Job`: it imports what a verb needs.
        show_sweep = importlib.import_module("nas.cli.verbs.search").show_sweep
        show_sweep(ended, shlex.join(["nas", verb.name, *arguments]), quiet=sets(line.overrides, "json"))
    return max((job.code for job in ended), default=EXIT_OK)


def _taken(codes: Path) -> list[Ended]:
    """How the jobs ended, in their order; the folder where they wrote it is removed."""
    files = sorted(codes.glob("*.json"), key=lambda path: int(path.stem))
    ended = [Ended(**json.loads(path.read_text(encoding="utf-8"))) for path in files]
    shutil.rmtree(codes, ignore_errors=True)
    return ended


def register_settings() -> None:
    """Tell Hydra the defaults of every verb's settings, which `conf/<verb>.yaml` is laid over."""
    for name, kind in SETTINGS.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=defaults(kind))
