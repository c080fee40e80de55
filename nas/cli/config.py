"""The configuration of each verb as a dataclass; `conf/<verb>.yaml` fills it, Hydra type-checks every value.

Groups (`space`, `recipe`, `data`) stay plain mappings here: each is checked by what is made of it.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class BudgetConfig:
    """Limits as typed, with units or as a percentage of the max net; none set means no limit."""

    latency: str | None = None
    memory: str | None = None
    size: str | None = None
    macs: str | None = None
    params: str | None = None


@dataclass
class TrainConfig:
    """`nas train`.

    Attributes
    ----------
    name : last part of the run folder's name.
    seed : of everything random.
    threads : CPU threads; all cores if not given. Results repeat exactly at the same number.
    accelerator : ``auto``, ``cpu`` or ``cuda``.
    """

    space: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    name: str = MISSING
    seed: int = 0
    threads: int | None = None
    accelerator: str = "auto"
    runs: str = "runs"


@dataclass
class SearchConfig(TrainConfig):
    """`nas search`.

    Attributes
    ----------
    device : whose budget it is.
    supernet : a training run's folder; trained first (or found among the runs) if not given.
    confidence : wanted chance that the chosen network keeps the latency budget.
    samples : architectures to measure on a device that little is known of; by default a dozen where other
        devices were measured in the space, else forty.
    evaluations : subnets evaluated to fit the accuracy predictor.
    candidates : networks that the evolution may evaluate by prediction.
    finalists, rounds : networks measured in a round, and rounds at most.
    format, precision : of the exported files, several with commas between; by default what the device runs.
    max_accuracy_drop : points of accuracy on search-validation that an int8 file may lose against float32.
    batch : of the exported files; null for a dynamic one in ONNX, which is 1 in TFLite.
    json : print the result as one JSON object.
    """

    device: str = "cpu"
    supernet: str | None = None
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    confidence: float = 0.95
    samples: int | None = None
    evaluations: int = 80
    candidates: int = 20_000
    finalists: int = 8
    rounds: int = 3
    format: str | None = None
    precision: str | None = None
    max_accuracy_drop: float = 1.0
    batch: int | None = 1
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
    """`nas finetune`; see `nas.training.finetune.Finetuning` and `SearchConfig`."""

    run: str = MISSING
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.1
    label_weight: float = 0.5
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
class ReportConfig:
    """`nas report`."""

    run: str = MISSING


@dataclass
class ListConfig:
    """`nas devices` and `nas spaces`."""

    runs: str = "runs"
    json: bool = False


SCHEMAS: dict[str, Any] = {
    "train": TrainConfig,
    "search": SearchConfig,
    "measure": MeasureConfig,
    "fit": FitConfig,
    "export": ExportConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
    "devices": ListConfig,
    "spaces": ListConfig,
}
