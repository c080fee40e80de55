"""What may be asked of a training and of a search: plain settings, checked by type when they are read.

The command line's configuration is made of these classes; from Python they are filled in by hand. Nothing
heavy is imported here.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.shipped import find_supernet
from nas.training import Recipe
from nas.training.duration import parse_duration


@dataclass
class Limits:
    """Limits as typed, with units or as a percentage of the max net; None means no limit.

    Attributes
    ----------
    latency : one for all devices, or one for each: ``pixel=20ms,note10=15ms``.
    """

    latency: str | None = None
    memory: str | None = None
    size: str | None = None
    macs: str | None = None
    params: str | None = None


@dataclass
class TrainRequest:
    """A supernet to train.

    Attributes
    ----------
    space, recipe, data : settings; see `nas.pipeline.train.train_supernet`.
    seed : of everything random.
    threads : CPU threads; all cores if not given. Results repeat exactly at the same number.
    accelerator : ``auto``, ``cpu`` or ``cuda``.
    train_time : such as ``20min``: how long the training may take; chooses the number of epochs, in place of the
        recipe's.
    runs : the folder of all runs.
    """

    space: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=lambda: Recipe().as_dict())
    data: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    threads: int | None = None
    accelerator: str = "auto"
    train_time: str | None = None
    runs: str = "runs"

    def __post_init__(self) -> None:
        if self.train_time is not None:
            parse_duration(self.train_time)


@dataclass
class SearchRequest(TrainRequest):
    """A network to find.

    Attributes
    ----------
    data : settings of the images; with a given supernet they may be left empty, which takes those of its training.
    budget : what the network may cost.
    device : whose latency it is; several with commas between.
    shared : several devices get one network that keeps every one's budget, instead of one each.
    supernet : a training run's folder, or the name of a shipped supernet; trained first (or found among the runs) if
        not given.
    confidence : wanted chance that the chosen network keeps a latency budget.
    samples : architectures to measure on a device that little is known of; by default a dozen where other
        devices were measured in the space, else forty.
    evaluations : subnets evaluated at most to fit the accuracy predictor; finalists come on top.
    storage : URL of a database through which workers (`nas worker`) share the evaluations; None evaluates here alone.
    strategy : how the best network within the budget is searched for: ``evolution``, ``nsga2``, ``random`` or
        another of `nas.search.evolution.strategies`.
    candidates : networks that a search may evaluate by prediction.
    finalists, rounds : networks measured in a round, and rounds at most.
    format, precision : of the exported files, several with commas between; None for what the device runs, which
        is exported in any case where it is ONNX or TFLite. Precision ``auto`` is for `nas.pipeline.precisions`.
    max_accuracy_drop : points of accuracy on search-validation that an int8 file may lose against float32.
    batch : of the exported files; None leaves it open in ONNX, which is 1 in TFLite.
    former : folder of a finished search; what it learnt answers this one at once, and nothing is measured. Its own
        settings count except for the budget, the confidence and the seed.
    """

    budget: Limits = field(default_factory=Limits)
    device: str = "cpu"
    shared: bool = False
    supernet: str | None = None
    confidence: float = 0.95
    samples: int | None = None
    evaluations: int = 80
    storage: str | None = None
    strategy: str = "evolution"
    candidates: int = 20_000
    finalists: int = 8
    rounds: int = 4
    format: str | None = None
    precision: str | None = None
    max_accuracy_drop: float = 1.0
    batch: int | None = 1
    former: str | None = None

    @property
    def training_folder(self) -> Path:
        """Where the supernet is, or will be: the same settings, the same folder."""
        if self.supernet is not None:
            return find_supernet(self.supernet)
        settings = {"space": self.space, "data": self.data, "recipe": self.recipe, "seed": self.seed}
        if self.train_time is not None:
            settings["train_time"] = self.train_time
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return Path(self.runs) / "train" / f"{self.data['name']}_{digest[:10]}"

    @property
    def supernet_name(self) -> str:
        """What `nas.pipeline.train.TrainedSupernet.open` finds the supernet by."""
        return self.supernet or str(self.training_folder)

    @property
    def moved_data(self) -> dict[str, Any] | None:
        """Settings in which the images of a given supernet are others than at its training."""
        return dict(self.data) if self.supernet is not None and self.data else None

    @property
    def limits(self) -> dict[str, str | None]:
        """The budget by flag."""
        return asdict(self.budget)


def latency_limits(typed: str | None, devices: Mapping[str, Collection[str]]) -> dict[str, str | None]:
    """What each device may take, as typed: one limit for all, or ``pixel=20ms,note10=15ms``.

    Parameters
    ----------
    devices : names, each with the others that it answers to.

    Raises
    ------
    ValueError : a limit that is of no device, or a device without one.
    """
    if typed is None or ("=" not in typed and "," not in typed):
        return dict.fromkeys(devices, typed)
    limits: dict[str, str] = {}
    for part in typed.split(","):
        word, equals, text = (word.strip() for word in part.partition("="))
        name = next((name for name, others in devices.items() if word in (name, *others)), None)
        if not equals or name is None or name in limits:
            break
        limits[name] = text
    if set(limits) != set(devices):
        each = ",".join(f"{name}=20ms" for name in devices)
        raise ValueError(
            f"--latency {typed} must be one limit for all devices, or one for each of them: --latency {each}"
        )
    return {name: limits[name] for name in devices}
