"""The exported files as tables: latency, size, memory and accuracy of each, in its own runtime and precision."""

from collections.abc import Sequence

from nas.report.page import Cell
from nas.report.words import UNKNOWN, milliseconds, percent
from nas.search.budget import METRICS
from nas.search.record import ExportRecord, PrecisionRecord

_SIZE = next(metric for metric in METRICS if metric.key == "weight_bytes")
HEAD = [
    "file",
    "latency,\nmeasured",
    "file\nsize",
    "peak\nmemory",
    "search-\nvalidation",
    "test",
    "same class\nas PyTorch",
    "largest\ndifference",
]
EXPLANATION = (
    "Latency and accuracy are those of the file itself, run in the runtime that is named; the accuracy of float32 is "
    "below that of an int8 file. Peak memory is the largest number of bytes that activations take at once, computed "
    "from the graph in the file's precision; weights and the runtime's own memory are not in it. Differences are those "
    "of logits; an int8 file is accepted or rejected by its accuracy, not by them."
)

PRECISIONS_HEAD = [
    "best network in",
    "search-validation",
    "test",
    "latency, measured",
    "file size",
    "peak memory",
    "MACs",
]


def file_rows(exports: Sequence[ExportRecord]) -> list[list[Cell | str]]:
    """One row a file, a cell for each of `HEAD`."""
    return [
        [
            export["file"] + ("" if export["accepted"] else "\nrejected: lost too much accuracy"),
            _latency(export),
            _SIZE.format(export["bytes"]),
            _SIZE.format(export["peak_activation_bytes"]),
            _accuracy(export.get("accuracy"), None, export.get("float32_accuracy")),
            _accuracy(
                export.get("test_accuracy"), export.get("test_accuracy_error"), export.get("float32_test_accuracy")
            ),
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
    threads = f"{timed['threads']} thread{'' if timed['threads'] == 1 else 's'}"
    return f"{milliseconds(timed['latency_ms'])}{images}\n{timed['device']}, {timed['runtime']}, {threads}"


def _accuracy(share: float | None, error: float | None, float32: float | None) -> str:
    if share is None:
        return "not known"
    return percent(share, error) + ("" if float32 is None else f"\nfloat32 {percent(float32)}")


def precision_rows(precisions: Sequence[PrecisionRecord]) -> list[list[Cell | str]]:
    """The best network in each precision, a cell for each of `PRECISIONS_HEAD`; fewer cells where there is none."""
    rows: list[list[Cell | str]] = []
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
                percent(found.get("test_accuracy"), found.get("test_accuracy_error")),
                "not measured" if found.get("latency_ms") is None else milliseconds(found["latency_ms"]),
                *(UNKNOWN if size is None else _SIZE.format(size) for size in sizes),
                UNKNOWN if macs is None else f"{macs / 1e6:.3g} M",
            ]
        )
    return rows
