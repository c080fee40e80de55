"""The configuration of each verb as a dataclass; `conf/<verb>.yaml` fills it, Hydra type-checks every value.

Groups (`space`, `recipe`, `data`) stay plain mappings here: each is checked by what is made of it.
"""

import copy
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from nas.pipeline.request import SearchRequest, TrainRequest
from nas.training import Finetuning

# The last part of a path, or something else where there is none.
OmegaConf.register_new_resolver("stem", lambda path, otherwise: otherwise if path is None else Path(path).name)


@dataclass
class TrainConfig(TrainRequest):
    """`nas train`.

    Attributes
    ----------
    name : last part of the run folder's name.
    """

    name: str = MISSING


@dataclass
class SearchConfig(SearchRequest):
    """`nas search`.

    Attributes
    ----------
    name : last part of the run folder's name.
    json : print the result as one JSON object.
    """

    name: str = MISSING
    json: bool = False


@dataclass
class MeasureConfig:
    """`nas measure`.

    Attributes
    ----------
    samples : architectures to measure.
    suggest : let the latency predictor choose them, instead of drawing them.
    source : a CSV file of latencies, or once-for-all's block tables with commas between, to take instead.
    """

    space: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    samples: int = 10
    suggest: bool = False
    source: str | None = None
    seed: int = 0
    name: str = MISSING
    runs: str = "runs"
    json: bool = False


@dataclass
class FitConfig:
    """`nas fit`."""

    space: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    seed: int = 0
    name: str = MISSING
    runs: str = "runs"
    json: bool = False


@dataclass
class ExportConfig:
    """`nas export`; see `SearchConfig`."""

    run: str = MISSING
    out: str | None = None
    format: str = "onnx"
    precision: str = "float32"
    max_accuracy_drop: float = 1.0
    batch: int | None = 1
    runs: str = "runs"
    json: bool = False


@dataclass
class FinetuneConfig:
    """`nas finetune`, besides the fields of `nas.training.Finetuning`; see `SearchConfig`."""

    run: str = MISSING
    train_time: str | None = None
    max_accuracy_drop: float = 1.0
    name: str = MISSING
    seed: int = 0
    threads: int | None = None
    accelerator: str = "auto"
    json: bool = False


@dataclass
class EvaluateConfig:
    """`nas evaluate`.

    Attributes
    ----------
    run : a training run's folder.
    random : random networks of all sizes besides the max net, the min net and the front.
    """

    run: str = MISSING
    random: int = 8
    seed: int = 0
    json: bool = False


@dataclass
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
    data: dict[str, Any] = field(default_factory=dict)
    idle_s: float = 600
    threads: int | None = None


@dataclass
class ReportConfig:
    """`nas report`."""

    run: str = MISSING


@dataclass
class ListConfig:
    """`nas devices` and `nas spaces`."""

    runs: str = "runs"
    json: bool = False


def _with_finetuning() -> type:
    """`FinetuneConfig` with every field of `Finetuning`, which checks the values."""
    own = [
        (name, Any, field(default_factory=partial(copy.copy, value))) for name, value in Finetuning().as_dict().items()
    ]
    return make_dataclass("FinetuneConfig", own, bases=(FinetuneConfig,))


SCHEMAS: dict[str, Any] = {
    "train": TrainConfig,
    "search": SearchConfig,
    "measure": MeasureConfig,
    "fit": FitConfig,
    "export": ExportConfig,
    "finetune": _with_finetuning(),
    "evaluate": EvaluateConfig,
    "worker": WorkerConfig,
    "report": ReportConfig,
    "devices": ListConfig,
    "spaces": ListConfig,
}
