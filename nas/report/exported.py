"""The exported files as tables: latency, size, memory and accuracy of each, in its own runtime and precision."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.progress import counted
from nas.report.page import Cell
from nas.report.words import UNKNOWN, milliseconds, percent
from nas.search.budget import METRIC_OF
from nas.search.record import ExportRecord, PrecisionRecord

_SIZE = METRIC_OF["weight_bytes"]
EXPLANATION = (
    "Latency and accuracy are those of the file itself, run in the runtime that is named; the line under the accuracy "
    "of an int8 file gives that of float32. Peak memory is the largest number of bytes that activations take at once, "
    "computed from the graph in the file's precision; weights and the runtime's own memory are not in it. Differences "
    "are those of logits; an int8 file is accepted or rejected by its accuracy, not by them."
)


def file_head(accuracy: str) -> list[str]:
    """Of the table of files; `accuracy` is what accuracies are."""
    return [
        "file",
        "latency,\nmeasured",
        "file\nsize",
        "peak\nmemory",
        f"{accuracy},\nsearch-validation",
        f"{accuracy},\ntest",
        "same class\nas PyTorch",
        "largest\ndifference",
    ]


def file_rows(exports: Sequence[ExportRecord], objective: str) -> list[list[Cell | str]]:
    """One row a file, a cell for each of `file_head`; `objective` is what the files were judged by."""
    return [
        [
            export["file"] + ("" if export["accepted"] else "\nrejected: lost too much accuracy"),
            _latency(export),
            _SIZE.format(export["bytes"]),
            _SIZE.format(export["peak_activation_bytes"]),
            _accuracy(export, objective),
            _accuracy(export, f"test_{objective}", f"test_{objective}_error"),
            f"{export['parity']['top1_agreement']:.1%} of {export['parity']['n']}",
            f"{export['parity']['max_abs_difference']:.2g}",
        ]
        for export in exports
    ]


def _latency(export: ExportRecord) -> str:
    if "latency" not in export:
        return "not measured"
    timed = export["latency"]
    images = "" if export["batch"] in (1, None) else f" for {export['batch']} images"
    threads = counted(timed["threads"], "thread")
    return f"{milliseconds(timed['latency_ms'])}{images}\n{timed['device']}, {timed['runtime']}, {threads}"


def _accuracy(export: Mapping[str, Any], key: str, error: str = "") -> str:
    if key not in export:
        return "not known"
    float32 = export.get(f"float32_{key}")
    return percent(export[key], export.get(error)) + ("" if float32 is None else f"\nfloat32 {percent(float32)}")


def precision_head(accuracy: str) -> list[str]:
    """Of the table of precisions; `accuracy` is what accuracies are."""
    figures = ["latency, measured", "file size", "peak memory", "MACs"]
    return ["best network in", f"{accuracy},\nsearch-validation", f"{accuracy},\ntest", *figures]


def precision_rows(precisions: Sequence[PrecisionRecord], objective: str) -> list[list[Cell | str]]:
    """The best network in each precision, a cell for each of `precision_head`; fewer cells where there is none."""
    rows: list[list[Cell | str]] = []
    of_test: Any = f"test_{objective}"  # earlier searches did not write a balanced one
    for found in precisions:
        name = f"{found['precision']}\n{found['device']}"
        if "reason" in found:
            rows.append([name, found["reason"]])
            continue
        rejected = "" if found.get("accepted", True) else "\nrejected: lost too much accuracy"
        sizes = [found.get("bytes"), found.get("peak_activation_bytes")]
        macs = found.get("macs")
        rows.append(
            [
                f"{name}\n{found.get('architecture', '')}",
                f"{percent(found.get('accuracy'))}{rejected}",
                percent(found.get(of_test), found.get(f"{of_test}_error")),
                "not measured" if found.get("latency_ms") is None else milliseconds(found["latency_ms"]),
                *(UNKNOWN if size is None else _SIZE.format(size) for size in sizes),
                UNKNOWN if macs is None else f"{macs / 1e6:.3g} M",
            ]
        )
    return rows
