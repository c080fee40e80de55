"""What ``result.json`` holds, as types: a run folder may come from elsewhere, so every field is checked when read.

Fields that are not named here are kept as they are. Accuracies are fractions, latencies milliseconds, sizes bytes.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import Ge, Le
from pydantic import AliasChoices, ConfigDict, Field
from typing_extensions import TypedDict

from latency_tables.files import InnerPath, PlainName, plain_name, read_json
from nas.search.latency import latencies_of
from nas.shipped import CARD

FILE = "result.json"
SESSIONS = 3
"""Fresh processes in which a network must have kept a latency budget to be proved."""
IDENTITY = "search.json"
"""Which search a folder is of, written when it begins."""

Share = Annotated[float, Ge(0), Le(1)]
Count = Annotated[int, Ge(0)]
JudgedBy = Literal["accuracy", "balanced_accuracy"]
Amount = Annotated[float, Ge(0)]
"""Milliseconds, bytes or a number of operations."""


class Space(TypedDict):
    """A search space and the number of its networks."""

    name: str
    options: dict[str, Any]
    size: int | float


class Costs(TypedDict):
    """Of the chosen network, on paper."""

    macs: Count
    params: Count
    weight_bytes: Count
    peak_activation_bytes: Count


class BudgetRecord(TypedDict):
    """A limit; see `nas.search.budget`."""

    flag: str
    device: str
    key: Literal["latency_ms", "macs", "params", "weight_bytes", "peak_activation_bytes"]
    typed: str
    limit: Amount
    value: Amount
    source: Literal["measured", "predicted", "paper"]
    met: bool
    throughput: NotRequired[str]


class FeasibilityRecord(TypedDict):
    """What the space offers under one limit."""

    budget: str
    device: str
    cheapest: Amount
    min_net: Amount
    middle_net: Amount
    max_net: Amount


class PartRecord(TypedDict):
    """See `nas.search.latency_breakdown.PartLatency`."""

    device: str
    part: str
    chosen_ms: float
    max_net_ms: float


class ParityRecord(TypedDict):
    """See `nas.export.parity.Parity`."""

    max_abs_difference: float
    top1_agreement: Share
    n: Count


class TimedRecord(TypedDict):
    """The latency of a file, and where it was measured."""

    latency_ms: Amount
    device: str
    runtime: str
    threads: Count


class ConfusedRecord(TypedDict):
    """Images of one class that were given another; classes by number."""

    true: Count
    predicted: Count
    images: Count


class ClassesRecord(TypedDict):
    """See `nas.evaluation.confusion.Confusion.record`."""

    images: Count
    accuracy: Share
    accuracy_error: Share
    balanced_accuracy: Share
    balanced_accuracy_error: Share
    images_per_class: list[Count]
    recall: list[Share | None]
    recall_error: list[Share]
    most_confused: list[ConfusedRecord]
    confusion_matrix: NotRequired[list[list[Count]]]


class ExportRecord(TypedDict):
    """See `nas.export.checked.export_checked`."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    file: PlainName
    format: Literal["onnx", "tflite"]
    precision: Literal["float32", "int8"]
    bytes: Count
    batch: Count | None
    peak_activation_bytes: Count
    accepted: bool
    parity: ParityRecord
    accuracy: NotRequired[Share]
    balanced_accuracy: NotRequired[Share]
    float32_accuracy: NotRequired[Share]
    float32_balanced_accuracy: NotRequired[Share]
    test_accuracy: NotRequired[Share]
    test_accuracy_error: NotRequired[Share]
    test_balanced_accuracy: NotRequired[Share]
    test_balanced_accuracy_error: NotRequired[Share]
    float32_test_accuracy: NotRequired[Share]
    float32_test_balanced_accuracy: NotRequired[Share]
    test: NotRequired[ClassesRecord]
    latency: NotRequired[TimedRecord]
    not_measured: NotRequired[str]


class PrecisionRecord(TypedDict):
    """The best network in a precision, or the reason why there is none."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    precision: str
    device: str
    chosen: bool
    reason: NotRequired[str]
    architecture: NotRequired[str]
    accuracy: NotRequired[Share]
    test_accuracy: NotRequired[Share]
    test_accuracy_error: NotRequired[Share]
    test_balanced_accuracy: NotRequired[Share]
    test_balanced_accuracy_error: NotRequired[Share]
    accepted: NotRequired[bool]
    latency_ms: NotRequired[Amount | None]
    bytes: NotRequired[Count]
    peak_activation_bytes: NotRequired[Count]
    macs: NotRequired[Count]


class BaselineRecord(TypedDict):
    """See `nas.pipeline.baselines.Judged`."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    name: str
    resolution: Count
    macs: Count
    accuracy: Share
    test_accuracy: Share
    test_error: Amount
    latency_ms: Amount | None
    p10_ms: Amount | None
    p90_ms: Amount | None
    keeps_budget: bool


class ChosenRecord(TypedDict):
    """Latency of the chosen network in the session that measured the baselines; empty where there was none."""

    latency_ms: NotRequired[Amount | None]
    p10_ms: NotRequired[Amount | None]
    p90_ms: NotRequired[Amount | None]


class BaselinesRecord(TypedDict):
    """See `nas.pipeline.baselines.compare`; empty where nothing was compared."""

    chosen: NotRequired[ChosenRecord]
    networks: NotRequired[list[BaselineRecord]]
    verdict: NotRequired[str]
    better: NotRequired[str | None]
    files: NotRequired[dict[str, InnerPath]]


class FinetuningRecord(TypedDict):
    """How the chosen network was trained alone; see `nas.pipeline.finetune.record_of`."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    of: NotRequired[str]  # the run folder whose network it is, where that is another one
    kept: NotRequired[Literal["before", "after"]]


class SearchRecord(TypedDict):
    """A search's answer, as `nas.search.result.SearchResult` writes it, with what the pipeline adds."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    space: Space
    device: str | None
    architecture: str
    status: Literal["met", "predicted", "missed"]
    confidence: Share
    seed: int
    predicted: dict[str, float | None]
    measured: dict[str, float | None]
    costs: Costs
    budgets: list[BudgetRecord]
    feasibility: list[FeasibilityRecord]
    candidates: Annotated[Count, Field(validation_alias=AliasChoices("candidates", "evaluations"))]  # as it was called
    rounds: Count
    search_seconds: float
    versions: dict[str, str]
    interrupted: bool
    proof: dict[str, str | float | list[float] | None]  # see `nas.search.result.SearchResult`
    latency_breakdown: list[PartRecord]
    command: NotRequired[str]
    data: NotRequired[str]
    supernet: NotRequired[str]
    moved_data: NotRequired[dict[str, Any] | None]
    labelled: NotRequired[bool]
    notes: NotRequired[list[str]]
    predictors: NotRequired[dict[str, str]]
    objective: NotRequired[JudgedBy]
    resolution: NotRequired[Count]
    images: NotRequired[dict[str, Count]]
    classes: NotRequired[list[str]]
    exports: NotRequired[list[ExportRecord]]
    files: NotRequired[dict[str, str]]
    precisions: NotRequired[list[PrecisionRecord]]
    baselines: NotRequired[BaselinesRecord]
    finetuning: NotRequired[FinetuningRecord | None]
    seconds: NotRequired[float]
    batch: NotRequired[Count]
    file_batch: NotRequired[Annotated[int, Ge(1)] | None]  # of the exported files, as it was asked for
    test_accuracy: NotRequired[Share]
    test_accuracy_error: NotRequired[Share]
    test_balanced_accuracy: NotRequired[Share]
    test_balanced_accuracy_error: NotRequired[Share]
    test_images: NotRequired[Count]


def read_record(folder: Path) -> SearchRecord:
    """``result.json`` of a finished search.

    Raises
    ------
    ValueError : `folder` is not that of one, or a field is missing or wrong.
    """
    path = folder / FILE
    if not path.exists() and (folder / CARD).exists():
        typed = shlex.join(["nas", "search", "--supernet", str(folder)])
        raise ValueError(
            f"{folder} is not the folder of a search, but a trained supernet; to search in it, type: {typed}"
        )
    if not path.exists():
        begun = (folder / IDENTITY).exists()
        why = f"that search was stopped before its end; {how_to_finish(folder)}" if begun else f"it has no {FILE}"
        raise ValueError(f"{folder} is not the folder of a finished search: {why}")
    record = read_json(path, SearchRecord)
    _check_latencies(record, path)
    for export in record.get("exports", []):
        if "test" in export:
            _check_classes(export["test"], len(record.get("classes", [])), path)
    _check_baselines(record, path)
    return record


def how_to_finish(folder: Path) -> str:
    """What finishes the search of `folder`; one device of several, and one precision, has it in the folder above."""
    for each in (folder, folder.parent):
        if (each / "settings.json").is_file():
            return f"to finish it, type: {shlex.join(['nas', 'search', '--resume', str(each)])}"
    return "repeat its command to finish it"


def _check_baselines(record: SearchRecord, path: Path) -> None:
    """Whoever finds baselines finds all that they are shown with."""
    found = record.get("baselines") or {}
    if not found.get("networks"):
        return
    wanted: dict[str, tuple[Mapping[str, Any], tuple[str, ...]]] = {
        "baselines.": (found, ("chosen", "verdict", "files")),
        "baselines.chosen.": (found.get("chosen", {}), ("latency_ms", "p10_ms", "p90_ms")),
        "": (record, ("resolution", "test_accuracy", "test_accuracy_error")),
    }
    for where, (fields, names) in wanted.items():
        if missing := [name for name in names if name not in fields]:
            raise ValueError(f"{path}: {where}{missing[0]} is missing")
    timed: list[Any] = [found["chosen"], *found["networks"]]
    if any(each["latency_ms"] is not None and None in (each["p10_ms"], each["p90_ms"]) for each in timed):
        raise ValueError(f"{path}: baselines have a latency without p10_ms and p90_ms")
    if record["measured"]["accuracy"] is None:
        raise ValueError(f"{path}: measured.accuracy is missing beside the baselines")


def _check_latencies(record: SearchRecord, path: Path) -> None:
    """Each device has all of its figures, and a name that may be part of a file's name."""
    predicted, measured = record["predicted"], record["measured"]
    latencies = latencies_of(predicted)
    needed = {"predicted": ["accuracy", "accuracy_std"], "measured": ["accuracy"]}
    for latency in latencies:
        if latency.device:
            try:
                plain_name(latency.device)
            except ValueError as error:
                raise ValueError(f"{path}: a device's name in predicted {error}") from error
        needed["predicted"] += [latency.column(name) for name in ("latency_ms", "latency_std_ms", "chance")]
        needed["measured"] += [latency.column(name) for name in ("latency_ms", "p10_ms", "p90_ms")]
        if measured.get(latency.column()) is not None:
            for name in ("p10_ms", "p90_ms"):
                _require(measured, latency.column(name), f"{path}: measured")
    for where, found in (("predicted", predicted), ("measured", measured)):
        if missing := [key for key in needed[where] if key not in found]:
            raise ValueError(f"{path}: {where}.{missing[0]} is missing")
    for key in ("accuracy", "accuracy_std"):
        _require(predicted, key, f"{path}: predicted")


def _require(figures: dict[str, float | None], key: str, where: str) -> None:
    if figures.get(key) is None:
        raise ValueError(f"{where}.{key} should be a number, got None")


def _check_classes(found: ClassesRecord, n: int, path: Path) -> None:
    """Counts by class belong to the record's classes."""
    matrix = found.get("confusion_matrix")
    sizes = {len(found["images_per_class"]), len(found["recall"]), len(found["recall_error"])}
    sizes |= set() if matrix is None else {len(matrix), *map(len, matrix)}
    numbers = [number for each in found["most_confused"] for number in (each["true"], each["predicted"])]
    if sizes != {n} or any(number >= n for number in numbers) or not found["images"]:
        raise ValueError(f"{path}: exports.test does not fit the {n} classes")
