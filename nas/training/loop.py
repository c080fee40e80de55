"""The training loop: every recipe, of a supernet or of one network, from the first step or from the last checkpoint.

A run folder gets `splits.json`, `schedule.json` (how long it will take), `augmentation.png` (images as a step sees
them), `log.jsonl`, `checkpoint.safetensors` and, at the end, `supernet.safetensors` with `supernet.json`.
"""

import json
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from latency_tables.files import write_text
from nas.data import ImageData
from nas.evaluation.accuracy import calibration_batches, evaluate, evaluate_subnets
from nas.progress import SILENT, Listener
from nas.progress import Progress as ShowProgress
from nas.signals import PATIENCE_S, Interruption
from nas.supernet import Subnet, Supernet, calibrate_batch_norm, save_supernet
from nas.training.augmentation.preview import write_preview
from nas.training.checkpoint import FILE as CHECKPOINT
from nas.training.checkpoint import Progress, digest, digest_as_in, load_checkpoint, save_checkpoint, weights_digest
from nas.training.distributed import Processes, accelerator, joined, synchronised_batch_norm
from nas.training.duration import parse_duration
from nas.training.estimate import FILE as SCHEDULE
from nas.training.estimate import Plan, machine, measure_costs, training_digest
from nas.training.log import RunLog
from nas.training.precision import bfloat16_pays
from nas.training.recipe import Recipe
from nas.training.schedule import Schedule
from nas.training.step import Trainer, TrainingDiverged, add, largest_resolution
from nas.training.threads import cpu_threads

CHECKPOINT_S = 60.0
"""Between two checkpoints, in seconds: what a power cut may cost, however short or long steps are."""


class NothingLearnt(RuntimeError):
    """Steps were taken and no weight has changed: a defect, never a result."""


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Attributes
    ----------
    folder : where the supernet is.
    epochs, steps, seconds : length of the whole run, however often it was interrupted.
    validation : accuracy of the ``max`` and the ``min`` net; one network alone is called ``max``.
    """

    folder: Path
    epochs: float
    steps: int
    seconds: float
    validation: dict[str, float]


def train(
    network: Supernet | Subnet,
    data: ImageData,
    recipe: Recipe,
    folder: str | Path,
    *,
    seed: int = 0,
    threads: int | None = None,
    device: str = "auto",
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    resume: bool = True,
    checkpoint_s: float = CHECKPOINT_S,
    log_every: int = 50,
    evaluations: int = 5,
    about: Mapping[str, Any] | None = None,
    teacher: nn.Module | None = None,
    train_time: str | None = None,
    most_epochs: float | None = None,
    weights: str | None = None,
    listener: Listener = SILENT,
) -> TrainingResult:
    """Train `network` in place; a supernet is saved at the end.

    Started by torchrun, all processes train one run together; see `nas.training.distributed`.

    Parameters
    ----------
    network : where a new run begins: a supernet (`nas.training.make_supernet` makes new ones) or one network alone. A
        resumed run takes the weights of its checkpoint.
    data : trained on its train split, watched on its validation split.
    recipe : the phases.
    folder : of the run.
    seed : of the order of images, their augmentation and the subnets of each step.
    threads : CPU threads of the training; by default the checkpoint's or torch's number. On a CPU, the same number
        gives the same weights bit for bit, however often the run was killed.
    device : ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``.
    precision : of forward passes; ``auto`` is the checkpoint's, else bfloat16 on GPUs that have it and, for large
        networks, on a CPU where it is measured to be faster (see `nas.training.precision`), else float32.
    resume : go on from the checkpoint in `folder`, if there is one; else start anew over it.
    checkpoint_s : seconds between two checkpoints; the first step and the last one are followed by one too.
    log_every : steps between two log records, counted from the start of each epoch; its end has one in any case.
    evaluations : how often, evenly over the run, the max and the min net are evaluated; the last time is
        the end. Fewer where they would take too much of `train_time`.
    about : JSON-able facts to write into the supernet's card besides our own.
    teacher : for phases with target ``external`` or an `external_share`; see `Trainer`.
    train_time : such as ``20min``; the number of epochs is then chosen by it, once, and kept in `folder`. Steps are
        measured for that, and also where there is a listener.
    most_epochs : that `train_time` may choose.
    weights : what those of one network alone are told by; by default their digest.
    listener : is told how long it will take and how it goes.

    Raises
    ------
    ValueError : data, network and recipe do not fit, there is no such device, `train_time` is too short, or the
        checkpoint is damaged or of another run.
    NothingLearnt : no weight has changed since the run began.
    TrainingDiverged : a gradient or a weight is not finite; the last checkpoint is from before.
    OSError : a file cannot be written; the last checkpoint is intact.
    KeyboardInterrupt, SystemExit : SIGINT or SIGTERM came. A checkpoint is written after a step that ends within
        `nas.signals.PATIENCE_S`, and by several processes always; else the last one is the newest.
    """
    place = accelerator(device)
    seconds = None if train_time is None else parse_duration(train_time)
    with joined(place.startswith("cuda")) as processes, cpu_threads(None):
        folder = processes.same_folder(Path(folder))
        told = listener if processes.leads else SILENT
        _check_fit(network, data, told)
        told_by = digest_as_in(folder) if resume else weights_digest
        identity = _identity(network, data, recipe, seed, teacher, train_time, weights, told_by)
        plan = Plan.read(folder, training_digest(identity)) if resume else None
        if plan is not None and train_time is not None:
            recipe = replace(recipe, epochs=plan.epochs)
            identity["recipe"] = recipe.as_dict()
        found = load_checkpoint(folder, identity) if resume else None
        progress = found[1] if found else Progress(threads=torch.get_num_threads())
        torch.set_num_threads(threads or progress.threads)
        progress.threads = torch.get_num_threads()
        if precision != "auto":
            progress.bfloat16 = precision == "bfloat16"
        elif progress.bfloat16 is None:
            progress.bfloat16 = processes.any(bfloat16_pays(network, place), torch.device(place))
        if progress.pooled is None:
            progress.pooled = recipe.cuda_graphs == "auto" and place.startswith("cuda") and processes.n == 1
        chosen: dict[str, Any] = {
            "seed": seed,
            "device": place,
            "bfloat16": progress.bfloat16,
            "processes": processes,
            "pooled": progress.pooled,
        }
        here = machine(place, processes.n)
        if plan is not None and not found and not plan.holds_on(here):
            plan = None  # nothing was trained for as long as it says
        wanted = seconds is not None or listener is not SILENT
        if wanted and processes.any(plan is None, torch.device(place)):
            costs = measure_costs(network, data, recipe, teacher=teacher, listener=told, **chosen)
            if seconds is not None:
                evaluations = costs.evaluations_within(seconds, evaluations)
                epochs = costs.epochs_within(seconds, recipe, len(data.train), evaluations)
                recipe = replace(recipe, epochs=min(epochs, most_epochs or epochs))
                identity["recipe"] = recipe.as_dict()
            plan = Plan(training_digest(identity), train_time, recipe.epochs, costs, here)
        elif plan is not None and seconds is not None:
            evaluations = plan.costs.evaluations_within(seconds, evaluations)
        if plan is not None and wanted and processes.any(not plan.holds_on(here), torch.device(place)):
            costs = measure_costs(network, data, recipe, teacher=teacher, listener=told, **chosen)
            plan = replace(plan, costs=costs)  # its length stays
        trainer = Trainer(network, data, recipe, external=teacher, **chosen)
        if found:
            trainer.load(found[0])
            told.say(f"going on from step {progress.step} of {trainer.schedule.n_steps} in {folder}")
        else:
            processes.broadcast_(trainer.tensors().values())
            progress.initial_weights = digest(trainer.parameters.values())
            if processes.leads:
                _begin(folder, trainer, plan, told)
        run = _Run(trainer, folder, progress, identity, checkpoint_s, log_every, evaluations, plan)
        with synchronised_batch_norm(network, processes, trainer.schedule.batch_size):
            run.finish(told)
        if trainer.average is not None:
            trainer.average.apply()
        # The saved statistics are the max net's; whoever takes another subnet calibrates its own.
        if isinstance(network, Supernet):
            network.activate(network.space.max)
        calibrate_batch_norm(network, calibration_batches(data, network.resolution, trainer.device))
        if processes.leads and isinstance(network, Supernet):
            save_supernet(folder, network, {**(about or {}), **_card(data, recipe, seed, progress, processes)})
    return TrainingResult(folder, recipe.epochs, progress.step, progress.seconds, progress.validation)


def _identity(
    network: Supernet | Subnet,
    data: ImageData,
    recipe: Recipe,
    seed: int,
    teacher: nn.Module | None,
    train_time: str | None,
    weights: str | None,
    told_by: Callable[[nn.Module], str],
) -> dict[str, Any]:
    """What a run must share with the checkpoint from which it goes on; weights are `told_by` their digest."""
    identity = {
        "space": {"name": network.space.name, "options": network.space.options},
        "recipe": recipe.as_dict(),
        "seed": seed,
        "data": data.fingerprint,
        "teacher": None if teacher is None else told_by(teacher),
        "train_time": train_time,
    }
    if isinstance(network, Supernet):
        return identity | {"kernel_transform": network.kernel_transform}
    return identity | {"network": f"{network.architecture} {weights or told_by(network)}"}


def _begin(folder: Path, trainer: Trainer, plan: Plan | None, listener: Listener) -> None:
    """Make the folder that of a new run: nothing is left of an earlier one."""
    for name in (CHECKPOINT, SCHEDULE):
        (folder / name).unlink(missing_ok=True)
    write_text(folder / "splits.json", json.dumps(trainer.data.splits(), indent=1))
    if plan is not None:
        plan.write(folder, trainer.recipe, trainer.schedule)
    stored, augmented = trainer.preview()
    picture = write_preview(folder, stored, augmented)
    listener.say(f"images as the first step sees them: {picture} (evaluation sees whole stored squares, crop ratio 1)")


class _Run:
    """The steps of a run that are still to be taken, and what is written meanwhile."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        progress: Progress,
        identity: Mapping[str, Any],
        checkpoint_s: float,
        log_every: int,
        evaluations: int,
        plan: Plan | None,
    ) -> None:
        self.trainer = trainer
        self.folder = folder
        self.progress = progress
        self.identity, self.checkpoint_s = identity, checkpoint_s
        self.log_every, self.plan = log_every, plan
        schedule = trainer.schedule
        ends = {round((i + 1) * trainer.recipe.epochs / evaluations) for i in range(evaluations)}
        ends_at = {end * schedule.steps_per_epoch for end in ends}
        self.evaluated = {step for step in ends_at if 0 < step < schedule.n_steps} | {schedule.n_steps}
        self.log = RunLog(folder, progress.step) if trainer.processes.leads else None
        self.due = perf_counter()

    def finish(self, listener: Listener) -> None:
        """Take all steps; see `train` for what is raised."""
        progress, schedule, processes = self.progress, self.trainer.schedule, self.trainer.processes
        if self.plan is not None and progress.step < schedule.n_steps:
            to_come = sum(step > progress.step for step in self.evaluated)
            listener.say(self.plan.sentence(self.trainer.recipe, schedule, to_come, progress.step))
        # Several processes end after the same step, or some would wait for the others.
        patience_s = PATIENCE_S if processes.n == 1 else None
        with Interruption(patience_s) as interruption, listener.track("training") as show:
            while progress.step < schedule.n_steps:
                record = self._step()
                self._show(show)
                if record.get("validation"):
                    listener.say(_sentence(record, schedule))
                if processes.any(interruption.noted is not None, self.trainer.device):
                    interruption.noted = interruption.noted or signal.SIGTERM
                if progress.step == schedule.n_steps or interruption.noted or perf_counter() > self.due:
                    with interruption.whole():
                        self._checkpoint()
                interruption.obey()

    def _show(self, show: ShowProgress) -> None:
        """Tell how much of the work is done: in milliseconds as estimated, for phases differ; else in steps."""
        step, schedule = self.progress.step, self.trainer.schedule
        if self.plan is None:
            show(step, schedule.n_steps)
            return
        seconds = [self.plan.costs.total(schedule, 0, done) for done in (0, step)]
        evaluation = self.plan.costs.evaluation
        done = sum(at <= step for at in self.evaluated)
        total = round(1000 * (seconds[0] + len(self.evaluated) * evaluation))
        show(total - round(1000 * (seconds[1] + (len(self.evaluated) - done) * evaluation)), total)

    def _step(self) -> dict[str, Any]:
        """Take one step; its log record, empty for most."""
        progress, schedule, began = self.progress, self.trainer.schedule, perf_counter()
        phase, learning_rate = schedule.phase(progress.step), schedule.learning_rate(progress.step)
        add(progress.sums, self.trainer.train_step(progress.step))
        progress.step += 1
        validation: dict[str, float] = {}
        if progress.step in self.evaluated:
            with self.trainer.as_kept():
                validation = progress.validation = _validate(self.trainer.network, self.trainer.data)
        progress.seconds += perf_counter() - began
        if not self._logs():
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

    def _logs(self) -> bool:
        """Whether it is `log_every` steps since the last record, counted from the start of each epoch, or its end."""
        step, schedule = self.progress.step, self.trainer.schedule
        return step % schedule.steps_per_epoch % self.log_every == 0 or step == schedule.n_steps

    def _checkpoint(self) -> None:
        if not self.trainer.processes.leads:
            return
        tensors, step = self.trainer.tensors(), self.progress.step
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise TrainingDiverged(f"training diverged at step {step}: a weight is not finite; {self.trainer.advice}")
        if digest(self.trainer.parameters.values()) == self.progress.initial_weights:
            raise NothingLearnt(f"no weight has changed by step {step}; the weights are those that the run began with")
        save_checkpoint(self.folder, tensors, self.progress, self.identity)
        self.due = perf_counter() + self.checkpoint_s


def _check_fit(network: Supernet | Subnet, data: ImageData, listener: Listener) -> None:
    space = network.space
    if len(data.train) < 2:
        raise ValueError(f"training needs at least 2 images, got {len(data.train)}")
    if space.num_classes != len(data.classes):
        raise ValueError(
            f"the space {space.name} has {space.num_classes} classes, the data {data.name} has {len(data.classes)}; "
            f"make it with num_classes={len(data.classes)}"
        )
    stored = data.resolution
    wanted = largest_resolution(network)
    if stored < wanted:
        listener.say(
            f"images are stored at {stored} pixels and networks read up to {wanted}: they will be enlarged; "
            f"better read them with data.resolution={wanted}"
        )


def _validate(network: Supernet | Subnet, data: ImageData) -> dict[str, float]:
    if isinstance(network, Subnet):
        device = next(network.parameters()).device
        calibrate_batch_norm(network, calibration_batches(data, network.resolution, device))
        return {"max": evaluate(network, "validation", data)}
    extremes = np.stack([network.space.max, network.space.min])
    of_max, of_min = evaluate_subnets(network, extremes, data).tolist()
    return {"max": of_max, "min": of_min}


def _sentence(record: Mapping[str, Any], schedule: Schedule) -> str:
    """What an evaluation found."""
    names = {"max": "max net", "min": "min net"} if "min" in record["validation"] else {"max": "network"}
    figures = ", ".join(f"{names[role]} {value:.1%}" for role, value in record["validation"].items())
    loss = f"; loss {record['loss_max']:.2f}" if "loss_max" in record else ""
    return f"step {record['step']:,} of {schedule.n_steps:,} ({record['phase']}): search-validation {figures}{loss}"


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
        "data": {
            "name": data.name,
            "fingerprint": data.fingerprint,
            "resolution": data.resolution,
            "sizes": {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)},
        },
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
