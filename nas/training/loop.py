"""The training loop: every recipe, from the first step or from the last checkpoint to a saved supernet.

A run folder gets `splits.json`, `log.jsonl`, `checkpoint.safetensors` and, at the end,
`supernet.safetensors` with `supernet.json`.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch

from latency_tables.files import write_text
from nas.data import ImageData
from nas.supernet import Supernet, calibrate_batch_norm, save_supernet
from nas.training.checkpoint import FILE as CHECKPOINT
from nas.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from nas.training.display import Display
from nas.training.evaluation import calibration_batches, evaluate_subnets
from nas.training.interruption import Interruption
from nas.training.log import RunLog
from nas.training.recipe import Recipe
from nas.training.step import ADVICE, Trainer, TrainingDiverged, add

logger = logging.getLogger(__name__)


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
) -> TrainingResult:
    """Train `supernet` in place and save it.

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
    precision : of forward passes; ``auto`` is bfloat16 on CUDA and float32 on a CPU, where bfloat16 pays
        only for large networks on chips that multiply it natively.
    resume : go on from the checkpoint in `folder`, if there is one; else start anew over it.
    checkpoint_every, log_every : steps between two, counted from the start of each epoch; both also happen at
        its end.
    evaluations : how often, evenly over the run, the max and the min net are evaluated; the last time is
        the end.
    about : JSON-able facts to write into the supernet's card besides our own.

    Raises
    ------
    ValueError : data and space do not fit, there is no such device, or the checkpoint is damaged or of
        another run.
    TrainingDiverged : a gradient or a weight is not finite; the last checkpoint is from before.
    OSError : a file cannot be written; the last checkpoint is intact.
    KeyboardInterrupt, SystemExit : SIGINT or SIGTERM came; the step was finished and a checkpoint written.
    """
    folder = Path(folder)
    _check_fit(supernet, data)
    identity = {
        "space": {"name": supernet.space.name, "options": supernet.space.options},
        "recipe": recipe.as_dict(),
        "seed": seed,
        "data": data.fingerprint,
        "kernel_transform": supernet.kernel_transform,
    }
    found = load_checkpoint(folder, identity) if resume else None
    progress = found[1] if found else Progress(threads=torch.get_num_threads())
    torch.set_num_threads(threads or progress.threads)
    progress.threads = torch.get_num_threads()
    place = _device(device)
    bfloat16 = precision == "bfloat16" or (precision == "auto" and place.startswith("cuda"))
    trainer = Trainer(supernet, data, recipe, seed=seed, device=place, bfloat16=bfloat16)
    schedule = trainer.schedule
    if found:
        trainer.load(found[0])
        logger.info("going on from step %d of %d in %s", progress.step, schedule.n_steps, folder)
    else:
        (folder / CHECKPOINT).unlink(missing_ok=True)
        write_text(folder / "splits.json", json.dumps(data.splits(), indent=1))
    log = RunLog(folder, progress.step)
    evaluated = {round((i + 1) * recipe.epochs / evaluations) for i in range(evaluations)} | {recipe.epochs}

    def checkpoint() -> None:
        tensors = trainer.tensors()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise TrainingDiverged(f"training diverged at step {progress.step}: a weight is not finite; {ADVICE}")
        save_checkpoint(folder, tensors, progress, identity)

    with Interruption() as interruption, Display(schedule.n_steps, progress.step) as display:
        while progress.step < schedule.n_steps:
            began = perf_counter()
            phase = schedule.phase(progress.step)
            learning_rate = schedule.learning_rate(progress.step)
            add(progress.sums, trainer.train_step(progress.step))
            progress.step += 1
            epoch, rest = divmod(progress.step, schedule.steps_per_epoch)
            validation: dict[str, float] = {}
            if rest == 0 and epoch in evaluated:
                validation = progress.validation = _validate(supernet, data)
            progress.seconds += perf_counter() - began
            display.step(progress.step, phase.name)
            if rest % log_every == 0:
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
                log.write(record)
                display.record(record)
            if rest % checkpoint_every == 0 or interruption.noted is not None:
                checkpoint()
            interruption.obey()

    # The saved statistics are the max net's; whoever takes another subnet calibrates its own.
    supernet.activate(supernet.space.max)
    calibrate_batch_norm(supernet, calibration_batches(data, supernet.resolution, trainer.device))
    save_supernet(folder, supernet, {**(about or {}), **_card(data, recipe, seed, progress)})
    return TrainingResult(folder, progress.step, progress.seconds, progress.validation)


def _check_fit(supernet: Supernet, data: ImageData) -> None:
    space = supernet.space
    if space.num_classes != len(data.classes):
        raise ValueError(
            f"the space {space.name} has {space.num_classes} classes, the data {data.name} has {len(data.classes)}; "
            f"make it with num_classes={len(data.classes)}"
        )
    stored = data.train.images.shape[-1]
    wanted = max((g.values[-1] for g in space.genes if g.kind == "resolution"), default=stored)
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


def _card(data: ImageData, recipe: Recipe, seed: int, progress: Progress) -> dict[str, Any]:
    """What travels with the trained weights."""
    return {
        "data": {"name": data.name, "fingerprint": data.fingerprint, "resolution": int(data.train.images.shape[-1])},
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "recipe": recipe.as_dict(),
        "seed": seed,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "validation": progress.validation,
    }
