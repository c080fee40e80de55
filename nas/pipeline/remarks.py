"""What a user should not miss about a deployed network, in sentences: they are printed, and stand in the report."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nas.devices import Device
from nas.evaluation.confusion import majority_remarks, small_split_remarks, unlike_splits_remarks
from nas.evaluation.trained import TrainedSupernet, given_network
from nas.pipeline.initial import trained_before_remarks
from nas.search.finalists.measurements import EVALUATED, measured_columns
from nas.search.latency import COLUMN, latencies_of
from nas.search.objectives import EXPONENTS
from nas.search.result import SearchResult
from search_spaces.traced import TracedSpace


def data_remarks(trained: TrainedSupernet) -> list[str]:
    """About the images alone: trained on before, splits too small to tell an accuracy from."""
    data = trained.data
    if not data.labelled:
        return []
    return [
        *trained_before_remarks(trained.card.get("trained_before", {}), data),
        *small_split_remarks(len(data.validation), "search-validation"),
        *small_split_remarks(len(data.test), "test"),
    ]


def file_remarks(exports: Sequence[Mapping[str, Any]], classes: Sequence[str], measured_batch: int = 1) -> list[str]:
    """About the exported files: no better than one class, worse on test than on search-validation, int8 whose accuracy
    is not known, that lost too much of it or that is not faster, a file that could not be measured, another batch than
    was measured.

    Parameters
    ----------
    measured_batch : images at once for which the budget was checked.
    """
    first = exports[0]
    said = []
    if "test" in first:
        objective = first.get("objective", "accuracy")
        said = majority_remarks(first["test"], classes, "test", objective) + unlike_splits_remarks(first)
    if unknown := [each["file"] for each in exports if each["precision"] == "int8" and "accuracy" not in each]:
        said.append(
            f"What int8 costs in accuracy is not known of {', '.join(unknown)}, for lack of labelled images: the "
            "accuracy that is shown is that in float32."
        )
    for file in exports:
        if not file["accepted"]:
            said.append(f"{file['file']} lost more accuracy to int8 than is allowed, and is rejected.")
    for slow in exports:
        if slow["precision"] != "int8" or "latency" not in slow:
            continue
        for other in exports:
            if other["precision"] == "float32" and _comparable(slow, other):
                int8_ms, float_ms = slow["latency"]["latency_ms"], other["latency"]["latency_ms"]
                if int8_ms >= float_ms:
                    said.append(
                        f"Int8 is not faster here: {slow['file']} takes {int8_ms:.3g} ms, {other['file']} "
                        f"{float_ms:.3g} ms in {slow['latency']['runtime']} on {slow['latency']['device']}."
                    )
    said += [f"{file['file']} was not measured: {file['not_measured']}." for file in exports if "not_measured" in file]
    checked = "one image" if measured_batch == 1 else f"{measured_batch} images"
    for file in exports:
        batch = file["batch"]
        if batch is not None and batch != measured_batch:
            took = f", which takes {file['latency']['latency_ms']:.3g} ms" if "latency" in file else ""
            images = "one image" if batch == 1 else f"{batch} images"
            said.append(f"The budget was checked for {checked} at a time; {file['file']} takes {images} at once{took}.")
    return said


def given_remarks(trained: TrainedSupernet, result: SearchResult) -> list[str]:
    """What the given network came to, which the supernet was made of; nothing where it is no finalist."""
    name = trained.space.format(trained.space.max)
    row = next((f for f in result.finalists.to_dict("records") if f["architecture"] == name), None)
    if not isinstance(trained.space, TracedSpace) or row is None:
        return []
    facts, what = given_network(trained.evaluated.folder), "The given network"
    if facts:
        classifier = "" if facts["own_classifier"] else " with a classifier fitted to its features"
        what += f" ({facts['accuracy']:.1%} on search-validation as given{classifier}; "
        what += "training did not make it better)" if trained.given is not None else "trained further here)"
    figures = [f"{row[EVALUATED]:.1%} on search-validation"] if np.isfinite(row[EVALUATED]) else []
    for latency in latencies_of(result.predicted):
        took = row[measured_columns(latency)[0]]
        if np.isfinite(took):
            figures.append(f"{took:.3g} ms{f' on {latency.device}' if latency.device else ''}")
    said = f"{what}: {', '.join(figures)}" if figures else what
    if name == result.architecture:
        return [f"{said}. It keeps the budget and nothing better was found, so it stays the answer."]
    return [f"{said}." if figures else f"{said} is among the finalists."]


def objective_remarks(objective: str) -> list[str]:
    """By what else than accuracy the network was chosen."""
    if objective not in EXPONENTS:
        return []
    return [
        f"Chosen within the budget by accuracy x (latency / limit)^{EXPONENTS[objective]:g} (objective={objective}), "
        "so a faster network may stand before a more accurate one."
    ]


def batch_remarks(batch: int, result: SearchResult) -> list[str]:
    """What the latencies of several images at once are in images a second."""
    if batch == 1:
        return []
    said = f"latencies are of one inference of {batch} images"
    latency_ms = result.measured.get(COLUMN)
    known = f": {1e3 * batch / latency_ms:,.0f} images a second as measured" if latency_ms else ""
    return [f"{said}{known}"]


def precision_remarks(devices: Sequence[Device]) -> list[str]:
    """In which precision devices compute files that are in another one."""
    halved = [device.name for device in devices if device.spec.precision == "float16"]
    if not halved:
        return []
    return [
        f"The file is in float32, and {' and '.join(halved)} computes it in float16: latencies are those in float16, "
        "bytes and accuracy those of the file."
    ]


def _comparable(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def conditions(export: Mapping[str, Any]) -> tuple[Any, ...]:
        timed = export["latency"]
        return export["format"], export["batch"], timed["device"], timed["runtime"], timed["threads"]

    return "latency" in other and conditions(one) == conditions(other)
