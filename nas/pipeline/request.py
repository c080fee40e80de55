"""What may be asked of a training and of a search: typed settings whose defaults stand here.

The command line's settings are these classes, and `nas.search` and `nas.train` fill them in. A value that cannot work
is refused when it is given. Nothing heavy is imported here.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from latency_tables.files import file_digest, last_part
from nas.data.contents import content_digest
from nas.data.folder import read_layout
from nas.data.settings import DataSettings
from nas.own_code import code_digest
from nas.pipeline.at_hand import NONE
from nas.pipeline.initial import initial_digest
from nas.search.budget import Budget, Throughput
from nas.search.objectives import check_confidence
from nas.search.throughput import as_latency
from nas.shipped import find_supernet
from nas.shipped.card import read_card
from nas.training import Recipe
from nas.training.duration import parse_duration, parse_share
from search_spaces.settings import SpaceSettings

MOST_BATCH = 4096
"""Of an exported file; the images of a larger batch do not fit the memory of a device."""
MOST = {"samples": 10_000, "evaluations": 100_000, "candidates": 10_000_000, "finalists": 1_000, "rounds": 1_000}
"""Of what a search counts: more takes months, or all memory."""
ACCELERATORS = ("auto", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits as typed, with units or as a percentage of the max net; None means no limit.

    Attributes
    ----------
    latency : one for all devices, or one for each: ``pixel=20ms,note10=15ms``.
    throughput : images a second, like ``500img/s``, or as a percentage of the max net's; a latency of the batch.
    """

    latency: str | None = None
    throughput: str | None = None
    memory: str | None = None
    size: str | None = None
    macs: str | None = None
    params: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """A supernet to train.

    Attributes
    ----------
    space : what can be built; the number of classes follows from the images.
    model : the network to start from, in place of a space: ``torchvision:NAME``, ``timm:NAME``,
        ``package.module:function`` or an exported program ``net.pt2``; see `nas.tracing`.
    weights : of the model: a file with its state dict.
    init : trained weights to start from, the classifier excepted where the classes differ: a trained network by name
        (``efficientnet_lite0``), the run folder of an earlier training, or a file of once-for-all's weights. The space
        is theirs.
    recipe : how it is trained.
    data : the images.
    seed : of everything random.
    threads : CPU threads; all cores if not given. Results repeat exactly at the same number.
    accelerator : ``auto``, ``cpu`` or ``cuda``.
    train_time : such as ``20min``: how long the training may take; chooses the number of epochs, in place of the
        recipe's.
    runs : the folder of all runs.
    """

    space: SpaceSettings = field(default_factory=SpaceSettings)
    recipe: Recipe = field(default_factory=Recipe)
    data: DataSettings = field(default_factory=DataSettings)
    seed: int = 0
    threads: int | None = None
    accelerator: str = "auto"
    train_time: str | None = None
    runs: str = "runs"
    model: str | None = None
    weights: str | None = None
    init: str | None = None

    def __post_init__(self) -> None:
        check_work(self.seed, self.threads, self.accelerator)
        if self.model is None and self.weights is not None:
            raise ValueError("--weights are those of a network: name it, like --model torchvision:mobilenet_v2")
        if self.model is not None and self.space != SpaceSettings():
            raise ValueError("--model makes a search space of its own; leave --space out")
        if self.model is not None and self.init is not None:
            raise ValueError("--model and --init are both what a training starts from; leave one out")
        if self.train_time is not None:
            parse_duration(self.train_time)

    @property
    def starts_trained(self) -> bool:
        """Training starts from trained weights; those that a function of the user's own loads are not known of."""
        brings_weights = self.model is not None and self.model.endswith(".pt2")
        return self.init is not None or self.weights is not None or brings_weights

    @property
    def label(self) -> str:
        """What the run is called where it has no name."""
        return self.data.name


@dataclass(frozen=True, kw_only=True)
class SearchRequest(TrainRequest):
    """A network to find.

    Attributes
    ----------
    moved_data : with a given supernet, where its images are now; None where they are those of its training.
    usual_start : what it starts from where nothing was said of that, in a sentence for the report.
    budget : what the network may cost.
    device : whose latency it is; several with commas between.
    shared : several devices get one network that keeps every one's budget, instead of one each.
    supernet : a training run's folder, or the name of a shipped supernet; trained first (or found among the runs) if
        not given.
    objective : what the network is chosen by within the budget: ``accuracy``; ``balanced_accuracy``, the mean of the
        classes' recalls, for classes of unequal size; or ``mnas``, MnasNet's accuracy x (latency / limit)^-0.07, by
        which a faster network may stand before a more accurate one.
    confidence : wanted chance that the chosen network keeps a latency budget.
    samples : architectures to measure on a device that little is known of; by default a dozen where other
        devices were measured in the space, else forty.
    evaluations : subnets evaluated at most to fit the accuracy predictor; finalists come on top. The command line and
        `nas.search` make fewer of these for trained weights on photographs; see `nas.pipeline.photographs`.
    storage : URL of a database through which workers (`nas worker`) share the evaluations; None evaluates here alone.
    strategy : how the best network within the budget is searched for: ``evolution``, ``gradient``, ``nsga2``,
        ``random`` or another of `nas.search.evolution.strategies`.
    candidates : networks that a search may evaluate by prediction.
    finalists, rounds : networks measured in a round, and rounds at most.
    format, precision : of the exported files, several with commas between; None for what the device runs, which
        is exported in any case where it is ONNX or TFLite, and ONNX for a device that is not attached and computes
        in floating point. Precision ``auto`` is for `nas.pipeline.precisions`.
    max_accuracy_drop : points of accuracy on search-validation that an int8 file may lose against float32.
    batch : images an inference takes, when it is measured and in the exported files; None leaves it open in ONNX,
        which is 1 in TFLite and when it is measured.
    device_threads : CPU threads of one inference, where it is not what the device's card says.
    baselines : trained networks that the answer is compared with, fine-tuned and measured in the same session: ``auto``
        for those at hand (photographs only), ``none``, or names with commas between.
    finetune_time : how long the chosen network is then trained alone, such as ``3min``, or ``60%`` of what the training
        of its supernet took; what came of it is kept unless it is clearly worse on search-validation. ``none`` does
        not. None is what is usual: ``60%`` where training starts from trained weights on photographs or has a
        `train_time`, and of a `supernet` that started so, else not.
    former : folder of a finished search; what it learnt answers this one at once, and nothing is measured. Its own
        settings count except for the budget, the confidence and the seed.
    """

    moved_data: DataSettings | None = None
    usual_start: str = ""
    budget: Limits = field(default_factory=Limits)
    device: str = "cpu"
    shared: bool = False
    supernet: str | None = None
    objective: str = "accuracy"
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
    device_threads: int | None = None
    baselines: str = "auto"
    finetune_time: str | None = None
    former: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finetune_time not in (None, NONE) and parse_share(str(self.finetune_time)) is None:
            parse_duration(str(self.finetune_time))
        for name, given in (("model", self.model), ("init", self.init)):
            if given is not None and (self.supernet is not None or self.former is not None):
                raise ValueError(f"--{name} is what a training starts from; leave --supernet and --from out")
        check_files(self.batch, self.max_accuracy_drop)
        check_confidence(self.confidence)
        for name, most in MOST.items():
            check_range(name, getattr(self, name), 1, most)
        check_range("device_threads", self.device_threads, 1)

    @property
    def trains_alone(self) -> bool:
        """Whether the chosen network is trained alone."""
        return self.finetune_time not in (None, NONE)

    def finetune_length(self, training_s: float) -> str:
        """How long the chosen network is trained alone, where the training of its supernet took `training_s`."""
        share = parse_share(str(self.finetune_time))
        return str(self.finetune_time) if share is None else f"{max(1, round(share * training_s))}s"

    def finetune_s(self, training_s: float) -> float:
        """`finetune_length` in seconds; 0 where it is not trained alone."""
        return parse_duration(self.finetune_length(training_s)) if self.trains_alone else 0.0

    @cached_property
    def training_folder(self) -> Path:
        """Where the supernet is, or will be: the same images and settings, the same folder.

        Images are the same by their contents, wherever their folder lies and however its path is written.

        Raises
        ------
        ValueError : the images cannot be read.
        """
        if self.supernet is not None:
            return find_supernet(self.supernet)
        settings = {
            "space": self.space.as_dict(),
            "data": content_digest(self.data),
            "recipe": self.recipe.as_dict(),
            "seed": self.seed,
        }
        if self.train_time is not None:
            settings["train_time"] = self.train_time
        if self.model is not None:
            settings |= {"model": self.model, "weights": weights_digest(self.weights)}
            if network := network_digest(self.model):
                settings["network"] = network
        if self.init is not None:
            settings["init"] = initial_digest(self.init)
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return Path(self.runs) / "train" / f"{self.data.name}_{digest[:10]}"

    @cached_property
    def n_classes(self) -> int:
        """Of the images, which are listed and not read.

        Raises
        ------
        ValueError : the folder is missing, or cannot be read as classes of images.
        """
        return len(read_layout(str(self.data.root)).classes) if self.data.name == "folder" else 10  # digits, CIFAR-10

    @property
    def supernet_name(self) -> str:
        """What `nas.pipeline.train.TrainedSupernet.open` finds the supernet by."""
        return self.supernet or str(self.training_folder)

    @property
    def label(self) -> str:
        """What the run is called where it has no name."""
        return self.data.name if self.supernet is None else last_part(self.supernet)

    @property
    def limits(self) -> dict[str, str | None]:
        """The budget by flag; a throughput is a limit on the latency of a batch."""
        typed: dict[str, str | None] = asdict(self.budget)
        if (throughput := typed.pop("throughput")) is not None:
            typed["latency"] = as_latency(throughput, self.batch or 1, typed["latency"])
        return typed

    def budget_of(self, latency: str | Mapping[str, str | None] | None) -> Budget:
        """The budget of a device that may take `latency`, or of several with a latency each; see `latency_limits`."""
        budget, throughput = Budget.parse(**self.limits | {"latency": latency}), self.budget.throughput
        if (
            throughput is None or self.limits["latency"] == self.budget.latency
        ):  # the stricter one, where both are given
            return budget
        said = Throughput(throughput.strip(), self.batch or 1)
        return Budget(
            tuple(limit if limit.latency is None else replace(limit, throughput=said) for limit in budget.limits)
        )


def network_digest(model: str) -> str:
    """Of the file or the user's own code that a given network is in, so that a change is another training; empty where
    it is neither."""
    if model.endswith(".pt2"):
        return weights_digest(model)
    package, _, name = model.partition(":")
    return code_digest(package) if name and package not in ("torchvision", "timm") else ""


def weights_digest(weights: str | None) -> str:
    """Of the file's content, so that a changed file is another training; empty for no file."""
    path = None if weights is None else Path(weights).expanduser()
    if path is None or not path.is_file():
        return ""
    return file_digest(path)


def moved_images(request: SearchRequest, typed: Mapping[str, Any]) -> DataSettings | None:
    """Where the images of the request's supernet are now; None where they are those of its training.

    Parameters
    ----------
    typed : the settings of the images that were given; the others are as in the training.

    Raises
    ------
    ValueError : there is no such supernet, or a setting cannot work.
    """
    if not typed:
        return request.moved_data
    card = read_card(find_supernet(str(request.supernet)))["card"]
    trained = request.moved_data.as_dict() if request.moved_data else card.get("data_settings", {})
    return DataSettings.from_dict({**trained, **typed})


def where_images_are(request: SearchRequest) -> dict[str, Any] | None:
    """Settings of the images that may differ from those of the supernet's training; None where none do."""
    if request.moved_data is not None:
        return request.moved_data.portable()
    if request.supernet is not None or not request.data.root:
        return None
    # The training may have read them from another place, and in another way.
    now = request.data.portable()
    return {name: now[name] for name in ("root", "memory_gb", "workers") if now[name] is not None}


def check_work(seed: int, threads: int | None, accelerator: str) -> None:
    """Refuse what no work can be done with; parameters as of `TrainRequest`.

    Raises
    ------
    ValueError : a value that cannot work.
    """
    check_seed(seed)
    check_range("threads", threads, 1)
    if accelerator not in ACCELERATORS:
        raise ValueError(f"accelerator must be {', '.join(ACCELERATORS[:-1])} or {ACCELERATORS[-1]}, got {accelerator}")


def check_seed(seed: int) -> None:
    """Refuse a number that is no seed.

    Raises
    ------
    ValueError : it is not.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed must be at least 0 and below 2^32, got {seed}")


def check_files(batch: int | None, max_accuracy_drop: float) -> None:
    """Refuse what no files can be exported with; parameters as of `SearchRequest`.

    Raises
    ------
    ValueError : a value that cannot work.
    """
    if not (isfinite(max_accuracy_drop) and max_accuracy_drop >= 0):
        raise ValueError(f"--max-accuracy-drop is in points of accuracy, at least 0, got {max_accuracy_drop:g}")
    check_range("batch", batch, 1, MOST_BATCH)


def check_range(name: str, value: float | None, least: int, most: int | None = None) -> None:
    """Refuse a value below `least` or above `most`.

    Raises
    ------
    ValueError : it is.
    """
    if value is not None and value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if value is not None and most is not None and value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value}")


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
    named = {word: name for name, others in devices.items() for word in (name, *others)}
    parts = [[word.strip() for word in part.partition("=")] for part in typed.split(",")]
    limits = {named.get(word): text for word, equals, text in parts if equals}
    if set(limits) != set(devices) or len(parts) != len(devices):
        each = ",".join(f"{name}=20ms" for name in devices)
        raise ValueError(
            f"--latency {typed} must be one limit for all devices, or one for each of them: --latency {each}"
        )
    return {name: limits[name] for name in devices}
