"""The training loop: every recipe, from the first step or from the last checkpoint to a saved supernet.

A run folder gets `splits.json`, `log.jsonl`, `checkpoint.safetensors` and, at the end,
`supernet.safetensors` with `supernet.json`.
"""

import json
import logging
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from latency_tables.files import write_text
from nas.data import ImageData
from nas.evaluation.accuracy import calibration_batches, evaluate_subnets
from nas.signals import Interruption
from nas.supernet import Supernet, calibrate_batch_norm, save_supernet
from nas.training.checkpoint import FILE as CHECKPOINT
from nas.training.checkpoint import Progress, digest, load_checkpoint, save_checkpoint
from nas.training.display import Display
from nas.training.distributed import Processes, joined, synchronised_batch_norm
from nas.training.log import RunLog
from nas.training.precision import bfloat16_pays
from nas.training.recipe import Recipe
from nas.training.step import ADVICE, Trainer, TrainingDiverged, add

logger = logging.getLogger(__name__)


class NothingLearnt(RuntimeError):
    """Steps were taken and no weight has changed: a defect, never a result."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Attributes
    ----------
    folder : where the supernet is.
    steps, seconds : length of the run, over all sittings.
    validation : accuracy of the ``max`` and the ``min`` net.
    """

    folder: Path
    steps: int
    seconds: float
    validation: dict[str, float]


def train(
    supernet: Supernet,
    data: ImageData,
    recipe: Recipe,
    folder: str | Path,
    *,
    seed: int = 0,
    threads: int | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    resume: bool = True,
    checkpoint_every: int = 200,
    log_every: int = 50,
    evaluations: int = 5,
    about: Mapping[str, Any] | None = None,
    teacher: nn.Module | None = None,
) -> TrainingResult:
    """Train `supernet` in place and save it.

    Started by torchrun, all processes train one run together; see `nas.training.distributed`.

    Parameters
    ----------
    supernet : where a new run begins; seed torch before making it. A resumed run takes its checkpoint's.
    data : trained on its train split, watched on its validation split.
    recipe : the phases.
    folder : of the run.
    seed : of the order of images, their augmentation and the subnets of each step.
    threads : CPU threads; by default the checkpoint's or torch's number. On a CPU, the same number gives
        the same weights bit for bit, however often the run was killed.
    device : ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    precision : of forward passes; ``auto`` is the checkpoint's, else bfloat16 on CUDA and, for large networks,
        on a CPU where it is measured to be faster (see `nas.training.precision`), else float32.
    resume : go on from the checkpoint in `folder`, if there is one; else start anew over it.
    checkpoint_every, log_every : steps between two, counted from the start of each epoch; both also happen at
        its end.
    evaluations : how often, evenly over the run, the max and the min net are evaluated; the last time is
        the end.
    about : JSON-able facts to write into the supernet's card besides our own.
    teacher : for phases with target ``external``; see `Trainer`.

    Raises
    ------
    ValueError : data, space and recipe do not fit, there is no such device, or the checkpoint is damaged or of
        another run.
    NothingLearnt : no weight has changed since the run began.
    TrainingDiverged : a gradient or a weight is not finite; the last checkpoint is from before.
    OSError : a file cannot be written; the last checkpoint is intact.
    KeyboardInterrupt, SystemExit : SIGINT or SIGTERM came; the step was finished and a checkpoint written.
    """
    place = _device(device)
    with joined(place.startswith("cuda")) as processes:
        if processes.n > 1 and place == "cuda":
            place = f"cuda:{processes.local}"
        folder = processes.same_folder(Path(folder))
        _check_fit(supernet, data)
        identity = {
            "space": {"name": supernet.space.name, "options": supernet.space.options},
            "recipe": recipe.as_dict(),
            "seed": seed,
            "data": data.fingerprint,
            "kernel_transform": supernet.kernel_transform,
            "teacher": None if teacher is None else digest(teacher.state_dict().values()),
        }
        found = load_checkpoint(folder, identity) if resume else None
        progress = found[1] if found else Progress(threads=torch.get_num_threads())
        torch.set_num_threads(threads or progress.threads)
        progress.threads = torch.get_num_threads()
        if precision != "auto":
            progress.bfloat16 = precision == "bfloat16"
        elif progress.bfloat16 is None:
            progress.bfloat16 = processes.any(bfloat16_pays(supernet, place), torch.device(place))
        if not found and recipe.zero_init_residuals:
            supernet.zero_init_residuals()
        trainer = Trainer(
            supernet,
            data,
            recipe,
            seed=seed,
            device=place,
            bfloat16=progress.bfloat16,
            external=teacher,
            processes=processes,
        )
        if found:
            trainer.load(found[0])
            logger.info("going on from step %d of %d in %s", progress.step, trainer.schedule.n_steps, folder)
        else:
            processes.begin_alike(trainer.tensors().values())
            progress.beginning = digest(trainer.parameters.values())
            if processes.leads:
                (folder / CHECKPOINT).unlink(missing_ok=True)
                write_text(folder / "splits.json", json.dumps(data.splits(), indent=1))
        run = _Run(trainer, folder, progress, identity, checkpoint_every, log_every, evaluations)
        with synchronised_batch_norm(supernet, processes, trainer.schedule.batch_size):
            run.finish()
        if trainer.average is not None:
            trainer.average.apply()
        # The saved statistics are the max net's; whoever takes another subnet calibrates its own.
        supernet.activate(supernet.space.max)
        calibrate_batch_norm(supernet, calibration_batches(data, supernet.resolution, trainer.device))
        if processes.leads:
            save_supernet(folder, supernet, {**(about or {}), **_card(data, recipe, seed, progress, processes)})
    return TrainingResult(folder, progress.step, progress.seconds, progress.validation)


class _Run:
    """The steps of a run that are still to be taken, and what is written meanwhile."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        progress: Progress,
        identity: Mapping[str, Any],
        checkpoint_every: int,
        log_every: int,
        evaluations: int,
    ) -> None:
        self.trainer = trainer
        self.folder = folder
        self.progress = progress
        self.identity = identity
        self.checkpoint_every = checkpoint_every
        self.log_every = log_every
        schedule = trainer.schedule
        ends = {round((i + 1) * trainer.recipe.epochs / evaluations) for i in range(evaluations)}
        self.evaluated = {end * schedule.steps_per_epoch for end in ends} | {schedule.n_steps}
        self.log = RunLog(folder, progress.step) if trainer.processes.leads else None

    def finish(self) -> None:
        """Take all steps; see `train` for what is raised."""
        progress, schedule, processes = self.progress, self.trainer.schedule, self.trainer.processes
        shown: AbstractContextManager[Display | None] = (
            Display(schedule.n_steps, progress.step) if processes.leads else nullcontext()
        )
        with Interruption() as interruption, shown as display:
            while progress.step < schedule.n_steps:
                record = self._step()
                if display is not None:
                    display.step(progress.step, schedule.phase(progress.step - 1).name)
                    if record:
                        display.record(record)
                if processes.any(interruption.noted is not None, self.trainer.device):
                    interruption.noted = interruption.noted or signal.SIGTERM
                if self._every(self.checkpoint_every) or interruption.noted:
                    self._checkpoint()
                interruption.obey()

    def _step(self) -> dict[str, Any]:
        """Take one step; its log record, empty for most."""
        progress, schedule, began = self.progress, self.trainer.schedule, perf_counter()
        phase, learning_rate = schedule.phase(progress.step), schedule.learning_rate(progress.step)
        add(progress.sums, self.trainer.train_step(progress.step))
        progress.step += 1
        validation: dict[str, float] = {}
        if progress.step in self.evaluated:
            with self.trainer.as_kept():
                validation = progress.validation = _validate(self.trainer.supernet, self.trainer.data)
        progress.seconds += perf_counter() - began
        if not self._every(self.log_every):
            return {}
        record = {
            "step": progress.step,
            "epoch": progress.step / schedule.steps_per_epoch,
            "phase": phase.name,
            "learning_rate": learning_rate,
            "seconds": round(progress.seconds, 3),
            **_means(progress.sums),
            **({"validation": validation} if validation else {}),
        }
        progress.sums = {}
        if self.log is not None:
            self.log.write(record)
        return record

    def _every(self, n_steps: int) -> bool:
        """Whether it is `n_steps` since the last time, counted from the start of each epoch, or the end of either."""
        step, schedule = self.progress.step, self.trainer.schedule
        return step % schedule.steps_per_epoch % n_steps == 0 or step == schedule.n_steps

    def _checkpoint(self) -> None:
        if not self.trainer.processes.leads:
            return
        tensors, step = self.trainer.tensors(), self.progress.step
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise TrainingDiverged(f"training diverged at step {step}: a weight is not finite; {ADVICE}")
        if digest(self.trainer.parameters.values()) == self.progress.beginning:
            raise NothingLearnt(f"no weight has changed in {step} steps; the weights are those that the run began with")
        save_checkpoint(self.folder, tensors, self.progress, self.identity)


def _check_fit(supernet: Supernet, data: ImageData) -> None:
    space = supernet.space
    if space.num_classes != len(data.classes):
        raise ValueError(
            f"the space {space.name} has {space.num_classes} classes, the data {data.name} has {len(data.classes)}; "
            f"make it with num_classes={len(data.classes)}"
        )
    stored = data.train.images.shape[-1]
    wanted = int(space.resolution(space.max)[0])
    if stored < wanted:
        logger.warning(
            "images are stored at %d pixels and the space reads up to %d: they will be enlarged; "
            "better read them with data.resolution=%d", stored, wanted, wanted,
        )  # fmt: skip


def _device(name: str) -> str:
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not name.startswith("cuda"):
        raise ValueError(f"unknown accelerator {name!r}; known: auto, cpu, cuda, cuda:N")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"{name} was asked for, but torch finds no CUDA device; use auto or cpu")
    return name


def _validate(supernet: Supernet, data: ImageData) -> dict[str, float]:
    extremes = np.stack([supernet.space.max, supernet.space.min])
    of_max, of_min = evaluate_subnets(supernet, extremes, data).tolist()
    return {"max": of_max, "min": of_min}


def _means(sums: dict[str, float]) -> dict[str, float]:
    """Loss and accuracy on augmented training images, by role."""
    means = {}
    for role in ("max", "min", "random"):
        if n := sums.get(f"images/{role}"):
            means[f"loss_{role}"] = sums[f"loss/{role}"] / n
            means[f"accuracy_{role}"] = sums[f"correct/{role}"] / n
    return means


def _card(data: ImageData, recipe: Recipe, seed: int, progress: Progress, processes: Processes) -> dict[str, Any]:
    """What travels with the trained weights."""
    return {
        "data": {"name": data.name, "fingerprint": data.fingerprint, "resolution": int(data.train.images.shape[-1])},
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "recipe": recipe.as_dict(),
        "seed": seed,
        "processes": processes.n,
        "bfloat16": progress.bfloat16,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "validation": progress.validation,
    }
