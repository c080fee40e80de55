"""The settings of each verb as a dataclass: the keys that can be typed, with their types and defaults.

`conf/<verb>.yaml` and what is typed are laid over the defaults by Hydra; the result is made into these classes.
"""

from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from omegaconf import OmegaConf

from latency_tables.files import last_part, plain_name
from nas.data.settings import DataSettings
from nas.pipeline.request import (
    MOST,
    MOST_BATCH,
    SearchRequest,
    TrainRequest,
    check_files,
    check_range,
    check_seed,
    check_work,
)
from nas.pipeline.settings import inner_settings, to_plain
from nas.training import Finetuning
from nas.training.duration import parse_duration
from search_spaces.settings import SpaceSettings

MOST_RANDOM = 10_000
"""Networks to evaluate on test; more take days."""
LONGEST_IDLE_S = 30 * 24 * 3600
"""For which a worker waits."""

# The last part of a path, or something else where there is none.
OmegaConf.register_new_resolver("stem", lambda path, otherwise: otherwise if path is None else last_part(path))


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainRequest):
    """`nas train`.

    Attributes
    ----------
    name : last part of the run folder's name.
    """

    name: str = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(SearchRequest):
    """`nas search`.

    Attributes
    ----------
    name : last part of the run folder's name.
    json : print the result as one JSON object.
    """

    name: str = "search"
    json: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name)


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """`nas measure`.

    Attributes
    ----------
    samples : architectures to measure, or of those that block tables make up to take (300 if not given).
    batch : images an inference takes.
    device_threads : CPU threads of one inference, where it is not what the device's card says.
    suggest : let the latency predictor choose them, instead of drawing them.
    again : measure the last ones of the space that the table holds once more, and keep the new latencies.
    source : a CSV file of latencies, or once-for-all's block tables with commas between, to take instead.
    """

    space: SpaceSettings = field(default_factory=SpaceSettings)
    device: str = "cpu"
    samples: int = 10
    batch: int = 1
    device_threads: int | None = None
    suggest: bool = False
    again: bool = False
    source: str | None = None
    seed: int = 0
    name: str = "measure"
    runs: str = "runs"
    json: bool = False

    def __post_init__(self) -> None:
        check_device(self.device)
        check_name(self.name)
        if self.suggest and self.source is not None:
            raise ValueError("--suggest chooses what to measure, and --import measures nothing; leave one of them out")
        check_seed(self.seed)
        check_range("samples", self.samples, 1, MOST["samples"])
        check_range("batch", self.batch, 1, MOST_BATCH)
        check_range("device_threads", self.device_threads, 1)


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """`nas fit`; see `MeasureConfig`."""

    space: SpaceSettings = field(default_factory=SpaceSettings)
    device: str = "cpu"
    batch: int = 1
    device_threads: int | None = None
    name: str = "fit"
    runs: str = "runs"
    json: bool = False

    def __post_init__(self) -> None:
        check_device(self.device)
        check_name(self.name)
        check_range("batch", self.batch, 1, MOST_BATCH)
        check_range("device_threads", self.device_threads, 1)


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """`nas export`; see `SearchConfig`."""

    run: str
    out: str | None = None
    format: str = "onnx"
    precision: str = "float32"
    max_accuracy_drop: float = 1.0
    batch: int | None = 1
    runs: str = "runs"
    json: bool = False

    def __post_init__(self) -> None:
        check_files(self.batch, self.max_accuracy_drop)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(Finetuning):
    """`nas finetune`, besides the fields of `nas.training.Finetuning`; see `SearchConfig`."""

    run: str
    train_time: str | None = None
    max_accuracy_drop: float = 1.0
    name: str = "finetune"
    seed: int = 0
    threads: int | None = None
    accelerator: str = "auto"
    runs: str = "runs"
    json: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name)
        check_work(self.seed, self.threads, self.accelerator)
        check_files(None, self.max_accuracy_drop)
        if self.train_time is not None:
            parse_duration(self.train_time)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """`nas evaluate`.

    Attributes
    ----------
    run : a training run's folder.
    random : random networks of all sizes besides the max net, the min net and the front.
    """

    run: str
    random: int = 8
    seed: int = 0
    json: bool = False

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_range("random", self.random, 0, MOST_RANDOM)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """`nas worker`.

    Attributes
    ----------
    storage : URL of the database that the search was given.
    supernet : the supernet's folder, where it is not the one that the search has.
    idle_s : seconds without work after which the worker leaves.
    threads : CPU threads; all cores if not given.
    """

    storage: str | None = None
    supernet: str | None = None
    data: DataSettings = field(default_factory=DataSettings)
    idle_s: float = 600
    threads: int | None = None

    def __post_init__(self) -> None:
        check_range("threads", self.threads, 1)
        check_range("idle_s", self.idle_s, 0, LONGEST_IDLE_S)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """`nas report`."""

    run: str


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """`nas devices` and `nas spaces`."""

    runs: str = "runs"
    json: bool = False


SETTINGS: dict[str, Any] = {
    "train": TrainConfig,
    "search": SearchConfig,
    "measure": MeasureConfig,
    "fit": FitConfig,
    "export": ExportConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "worker": WorkerConfig,
    "report": ReportConfig,
    "devices": ListConfig,
    "spaces": ListConfig,
}

FOUND_OUT = ("moved_data", "usual_start")
"""Settings that follow from others and are not typed."""
PATHS = ("data.root", "supernet", "weights", "init", "former", "source", "run", "out", "runs")


def check_name(name: str, typed: str = "name", hint: str = "") -> None:
    """Refuse a name, of a run where nothing else is said, that cannot be one.

    Parameters
    ----------
    typed : how the name is typed.
    hint : at the end of the sentence.

    Raises
    ------
    ValueError : it is not plain.
    """
    try:
        plain_name(name)
    except ValueError as error:
        raise ValueError(f"{typed} {error}{hint}") from None


def check_device(name: str) -> None:
    """Refuse a name of a device that cannot be one; see `check_name`."""
    check_name(name, "--device", "; `nas devices` lists the names that are known")


def defaults(kind: Any) -> dict[str, Any]:
    """The defaults of a settings class as plain data; what has none is ``???``, which Hydra asks for."""
    required = {f.name: "???" for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    made = to_plain(kind(**required)) | required
    return {name: value for name, value in made.items() if name not in FOUND_OUT}


def text_keys(kind: Any, prefix: str = "") -> frozenset[str]:
    """The keys of a settings class whose values are text, like ``data.root``."""
    found: set[str] = set()
    for name, hint in get_type_hints(kind).items():
        if (inner := inner_settings(hint)) is not None:
            found |= text_keys(inner, f"{prefix}{name}.")
        elif hint is str or set(get_args(hint)) == {str, NoneType}:
            found.add(prefix + name)
    return frozenset(found)
