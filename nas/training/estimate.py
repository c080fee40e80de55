"""How long a training will take: a few steps of each of its phases, measured before it starts.

They are taken by a copy of the network, so that nothing of the training changes. `schedule.json` in the run folder
keeps what was found and how many epochs were chosen by it, so that a training that goes on has the same length.
Times are in seconds.
"""

import copy
import hashlib
import json
import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, NotRequired, Self

import numpy as np
import torch
from annotated_types import Ge, Gt
from pydantic import ConfigDict
from torch import nn
from typing_extensions import TypedDict

from latency_tables.files import read_json, write_text
from nas.data import ImageData, Split, prepare
from nas.errors import TooShort
from nas.evaluation.accuracy import calibration_size, evaluation_batch
from nas.progress import SILENT, Listener, counted
from nas.supernet import Subnet, Supernet
from nas.training.distributed import Processes
from nas.training.duration import show_duration
from nas.training.pool import RENEW_EVERY, SIZE
from nas.training.recipe import Recipe
from nas.training.schedule import Schedule
from nas.training.step import Trainer
from nas.training.subnet_pass import Inputs
from search_spaces import Population, SearchSpace

FILE = "schedule.json"
Seconds = Annotated[float, Ge(0)]

MOST_STEPS, SHARE = 12, 1 / 20
"""Steps of a phase that are measured after the first one: at most so many, and at most this share of the phase."""

RECORDING, RECORDED = 2 * SIZE, 2 * RENEW_EVERY
"""Where subnets run as CUDA graphs: steps in which most of the pool is recorded, and steps measured after them, among
which as many subnets are recorded as later on."""

ENOUGH_S = 10.0
"""When this much of a phase has been measured, no further step of it is."""


MOST_NETWORKS = 64
"""Networks that are run once on a GPU before anything is measured there, as it plans each convolution of a new shape:
on an H200 the first 17 steps of EfficientNet-Lite0's space took 9 s each, those with all shapes seen .14 s."""

MOST_READ, READ_AT_ONCE = 256, 16
"""Images that are read to learn how long those of a split take, and how many at a time, so that all cores have some."""

EVALUATION_SHARE = 0.1
"""Of the time of a training, at most, where that is given."""


@dataclass(frozen=True)
class Costs:
    """What a training takes.

    Attributes
    ----------
    steps : seconds a step of each phase.
    evaluation : seconds of one evaluation on the validation split.
    memory_gb : most memory of the process, or of the GPU, so far; in GB of 1e9 bytes.
    """

    steps: tuple[float, ...]
    evaluation: float
    memory_gb: float

    def total(self, schedule: Schedule, evaluations: int, done: int = 0) -> float:
        """Seconds of the training after `done` steps."""
        starts = np.maximum(schedule.starts, done)
        return float(np.diff(starts) @ np.array(self.steps)) + evaluations * self.evaluation

    def evaluations_within(self, seconds: float, wanted: int) -> int:
        """How many evaluations of `wanted` take at most `EVALUATION_SHARE` of `seconds`; one at least."""
        return max(1, min(wanted, int(EVALUATION_SHARE * seconds / max(self.evaluation, 1e-9))))

    def epochs_within(self, seconds: float, recipe: Recipe, n_images: int, evaluations: int) -> float:
        """How many epochs of `recipe` take `seconds`, to the hundredth.

        Raises
        ------
        TooShort : so few that not every phase would have a step.
        """
        shares = np.array([phase.share for phase in recipe.phases])
        an_epoch = Schedule(recipe, n_images).steps_per_epoch * float(shares @ np.array(self.steps))
        fixed = evaluations * self.evaluation
        epochs = int(100 * max(0.0, seconds - fixed) / an_epoch) / 100
        least = np.ceil(100 / shares.min() / Schedule(recipe, n_images).steps_per_epoch) / 100
        if epochs < least:
            raise TooShort(
                f"{show_duration(seconds)} is too short for this training: an epoch takes {show_duration(an_epoch)}, "
                f"{evaluations} evaluations take {show_duration(fixed)}; give at least "
                f"{show_duration(1.1 * (least * an_epoch + fixed))}"
            )
        return epochs


def measure_costs(
    network: Supernet | Subnet,
    data: ImageData,
    recipe: Recipe,
    *,
    seed: int,
    device: str,
    bfloat16: bool,
    teacher: nn.Module | None,
    processes: Processes,
    pooled: bool = False,
    listener: Listener = SILENT,
) -> Costs:
    """Measure steps of every phase and a forward pass; `network` and all random numbers stay as they are.

    On a GPU, layers of all shapes are run before (see `MOST_NETWORKS`), of which `listener` is told.
    """
    probe = replace(
        recipe,
        # Each process does its part of the work; no weight moves far.
        batch_size=max(2, recipe.batch_size // processes.n),
        learning_rate=1e-12,
        phases=tuple(replace(phase, learning_rate=None) for phase in recipe.phases),
    )
    settings: dict[str, Any] = {"seed": seed, "device": device, "bfloat16": bfloat16, "pooled": pooled}
    trainer = Trainer(copy.deepcopy(network), data, probe, external=teacher, **settings)
    if trainer.device.type == "cuda":
        meet_shapes(trainer, listener)
    starts = trainer.schedule.starts
    seconds = [_phase_seconds(trainer, start, end) for start, end in zip(starts, starts[1:], strict=False)]
    # What process 0 measured holds for all, or they would plan different lengths.
    agreed = torch.tensor([*seconds, _evaluation_seconds(trainer)], dtype=torch.float64, device=trainer.device)
    processes.broadcast_([agreed])
    *steps, evaluation = agreed.tolist()
    if trainer.device.type == "cuda":
        memory = float(torch.cuda.max_memory_allocated(trainer.device))
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return Costs(tuple(steps), evaluation, round(memory / 1e9, 2))


def covering(space: SearchSpace, rng: np.random.Generator) -> Population:
    """Networks that together have each slot in all its variants, at all sizes, as far as `MOST_NETWORKS` can."""
    drawn = np.concatenate([np.stack([space.max, space.min]), space.sample(1000, rng)])
    variants = space.variants(drawn)
    places = np.arange(variants.shape[1]) * (int(variants.max()) + 1)
    _, codes = np.unique(variants + places, return_inverse=True)
    codes = codes.reshape(variants.shape)
    unseen = np.ones(int(codes.max()) + 1, dtype=bool)
    chosen: list[int] = []
    while unseen.any() and len(chosen) < MOST_NETWORKS:
        chosen.append(int(unseen[codes].sum(axis=1).argmax()))
        unseen[codes[chosen[-1]]] = False
    found: Population = drawn[chosen]
    return found


def meet_shapes(trainer: Trainer, listener: Listener = SILENT) -> None:
    """Run layers of all shapes forward and backward once."""
    if isinstance(trainer.network, Subnet):
        return
    images, labels = trainer.batches.batch(0, torch.Generator().manual_seed(0))
    trainer.network.train()
    rows = covering(trainer.network.space, np.random.default_rng(0))
    with listener.track("layers of all sizes, once each") as progress:
        for done, row in enumerate(rows, start=1):
            trainer.network.activate(row)
            seen = prepare(images, trainer.network.resolution, trainer.data.mean, trainer.data.std)
            trainer.subnet_pass.backward(trainer.recipe.phases[0], Inputs(seen, labels, None, None, None, 1.0))
            progress(done, len(rows))
    trainer.optimizer.zero_grad(set_to_none=True)


def _phase_seconds(trainer: Trainer, start: int, end: int) -> float:
    """Mean seconds of a step of the phase from step `start` to before `end`; 0 where it has none."""
    if end == start:
        return 0.0

    def timed(step: int) -> float:
        began = perf_counter()
        trainer.train_step(step)
        return perf_counter() - began

    first = timed(start)  # also does what happens once in the phase
    begin, most = start + 1, MOST_STEPS
    if trainer.recorded is not None:
        begin, most = begin + min(RECORDING, (end - begin) // 2), RECORDED
        for step in range(start + 1, begin):
            trainer.train_step(step)
    n = min(most, round(SHARE * (end - start)) or 1, end - begin)
    seconds: list[float] = []
    for step in range(begin, begin + n):  # in a row, as images are read ahead
        seconds.append(timed(step))
        if sum(seconds) > ENOUGH_S:
            break
    return float(np.mean(seconds)) if seconds else first


@torch.no_grad()
def _evaluation_seconds(trainer: Trainer) -> float:
    """Seconds in which the max and the min net, or the network alone, are calibrated and evaluated.

    Images for calibration are read once, those for validation by each network.
    """
    data, net, networks, share = trainer.data, trainer.network, 1, 1.0
    if isinstance(net, Supernet):
        least, most = net.space.costs(np.stack([net.space.min, net.space.max])).macs.tolist()
        networks, share = 2, 1 + least / most
        net.activate(net.space.max)
    if not len(data.validation):
        return 0.0
    images, _ = next(iter(data.validation.batches(evaluation_batch(net, data.validation))))
    net.eval()
    began = perf_counter()
    logits = net(prepare(images.to(trainer.device), net.resolution, data.mean, data.std))
    logits.sum().item()  # waits for a GPU
    an_image = (perf_counter() - began) / len(images)
    calibrating, judged = min(calibration_size(net.resolution), len(data.train)), len(data.validation)
    reading = _reading_seconds(data.train, calibrating) + networks * _reading_seconds(data.validation, judged)
    return reading + share * an_image * (calibrating + judged)


def _reading_seconds(split: Split, n: int) -> float:
    """Seconds in which `n` images of `split` are read: decoded, where they are in their files."""
    some = np.random.default_rng(0).permutation(len(split))[: min(n, MOST_READ)]
    began = perf_counter()
    for _ in split.batches(READ_AT_ONCE, some):
        pass
    return (perf_counter() - began) * n / max(1, len(some))


class _Costs(TypedDict):
    steps: list[Seconds]
    evaluation: Seconds
    memory_gb: Annotated[float, Ge(0)]


class _Schedule(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    training: str
    train_time: str | None
    epochs: Annotated[float, Gt(0)]
    costs: _Costs
    machine: NotRequired[str]


@dataclass(frozen=True)
class Plan:
    """The length of a training, as kept in its run folder.

    Attributes
    ----------
    training : which training it is of: the digest of its identity, whatever its number of epochs.
    train_time : as typed; None where the recipe's epochs count.
    epochs : of the training.
    costs : as measured.
    machine : that they were measured on; empty where an earlier version did not say it.
    """

    training: str
    train_time: str | None
    epochs: float
    costs: Costs
    machine: str = ""

    def write(self, folder: Path, recipe: Recipe, schedule: Schedule) -> None:
        """Keep it in `folder`, with what the phases come to for whoever reads it."""
        steps = np.diff(schedule.starts).tolist()
        phases = [
            {"name": phase.name, "steps": n, "seconds_a_step": round(seconds, 5)}
            for phase, n, seconds in zip(recipe.phases, steps, self.costs.steps, strict=True)
        ]
        write_text(folder / FILE, json.dumps(asdict(self) | {"phases": phases}, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path, training: str) -> Self | None:
        """The plan of that training in `folder`; None where there is none, or one of another training."""
        try:
            found = read_json(folder / FILE, _Schedule)
        except ValueError:  # it is made anew
            return None
        costs = Costs(tuple(found["costs"]["steps"]), found["costs"]["evaluation"], found["costs"]["memory_gb"])
        plan = cls(found["training"], found["train_time"], found["epochs"], costs, found.get("machine", ""))
        return plan if plan.training == training else None

    def holds_on(self, machine: str) -> bool:
        """Whether the costs are those of a machine, as far as it is known of which they are."""
        return self.machine in ("", machine)

    def sentence(self, recipe: Recipe, schedule: Schedule, evaluations: int, done: int = 0) -> str:
        """What the training will take from step `done` on, and how to shorten it."""
        starts = np.maximum(schedule.starts, done)
        parts = [
            f"{n:,} of {phase.name!r} at {show_duration(seconds)}"
            for phase, n, seconds in zip(recipe.phases, np.diff(starts).tolist(), self.costs.steps, strict=True)
            if n
        ]
        seconds = self.costs.total(schedule, evaluations, done)
        until = (datetime.now() + timedelta(seconds=seconds)).strftime("%H:%M" if seconds < 43200 else "%Y-%m-%d %H:%M")
        shorter = "" if self.train_time else f"; to shorten it: --train-time {_half(seconds)}, or fewer epochs"
        return (
            f"{schedule.n_steps - done:,} steps ({', '.join(parts)}) and {counted(evaluations, 'evaluation')} take "
            f"about {show_duration(seconds)}, until {until}, and {self.costs.memory_gb:.1f} GB of memory: "
            f"{counted(recipe.epochs, 'epoch')} of {schedule.n_images:,} images{shorter}"
        )


def machine(place: str, n_processes: int) -> str:
    """What the costs of a training depend on besides the training itself."""
    of_gpu = place.startswith("cuda")
    name = torch.cuda.get_device_name(place) if of_gpu else f"CPU with {torch.backends.cpu.get_cpu_capability()}"
    return f"{n_processes} x {torch.get_num_threads()} threads, {name}"


def training_digest(identity: Mapping[str, Any]) -> str:
    """SHA-256 of what a run must share with its checkpoint, except for the number of epochs."""
    recipe = {key: value for key, value in identity["recipe"].items() if key != "epochs"}
    text = json.dumps({**identity, "recipe": recipe}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _half(seconds: float) -> str:
    """About half of it, as one would type it."""
    half = seconds / 2
    if half < 90:
        return f"{max(1, round(half))}s"
    return f"{round(half / 60)}min" if half < 5400 else f"{half / 3600:.1f}h"
