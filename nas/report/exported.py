"""The exported files as tables: what each measures, weighs and gets right, in its own runtime and precision."""

from collections.abc import Mapping
from typing import Any

from nas.search.budget import METRICS

_SIZE = next(metric for metric in METRICS if metric.key == "weight_bytes")
HEAD = [
    "file",
    "latency, measured",
    "file size",
    "peak memory",
    "search-validation",
    "test",
    "same class<br>as PyTorch",
    "largest<br>difference",
]
EXPLANATION = (
    "Latency is the file's own, in the runtime named. Peak memory is the most bytes of activations alive at once, "
    "worked out from the graph: a tensor lives from the layer that writes it to the last one that reads it, in the "
    "file's precision; weights and what the runtime needs for itself come on top. Accuracy is the file's own; below an "
    "int8 file's stands float32's. Differences are of logits; those of int8 decide nothing, its accuracy does."
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


def file_rows(exports: list[Mapping[str, Any]]) -> list[list[str]]:
    """One row a file, a cell for each of `HEAD`; a line break within a cell is a newline."""
    return [
        [
            export["file"] + ("" if export["accepted"] else "\nrejected: lost too much accuracy"),
            _latency(export),
            _SIZE.format(export["bytes"]),
            _SIZE.format(export["peak_activation_bytes"]),
            _accuracy(export, ""),
            _accuracy(export, "test_"),
            f"{export['parity']['top1_agreement']:.1%} of {export['parity']['n']}",
            f"{export['parity']['max_abs_difference']:.2g}",
        ]
        for export in exports
    ]


def _latency(export: Mapping[str, Any]) -> str:
    if "latency" not in export:
        return "not measured"
    timed = export["latency"]
    images = "" if export["batch"] in (1, None) else f" for {export['batch']} images"
    threads = f"{timed['threads']} thread{'s' if timed['threads'] > 1 else ''}"
    return f"{timed['latency_ms']:.3g} ms{images}\n{timed['device']}, {timed['runtime']}, {threads}"


def _accuracy(export: Mapping[str, Any], on: str) -> str:
    if f"{on}accuracy" not in export:
        return "not known"
    shown = f"{export[f'{on}accuracy']:.2%}"
    float32 = export.get(f"float32_{on}accuracy")
    return shown if float32 is None else f"{shown}\nfloat32 {float32:.2%}"


def precision_rows(precisions: list[Mapping[str, Any]]) -> list[list[str]]:
    """The best network in each precision, a cell for each of `PRECISIONS_HEAD`; fewer cells where there is none."""
    rows = []
    for found in precisions:
        name = f"{found['precision']}\n{found['device']}"
        if "reason" in found:
            rows.append([name, found["reason"]])
            continue
        rejected = "" if found["accepted"] else "\nrejected: lost too much accuracy"
        rows.append(
            [
                f"{name}\n{found['architecture']}",
                f"{found['accuracy']:.2%}{rejected}",
                f"{found['test_accuracy']:.2%}",
                "not measured" if found["latency_ms"] is None else f"{found['latency_ms']:.3g} ms",
                _SIZE.format(found["bytes"]),
                _SIZE.format(found["peak_activation_bytes"]),
                f"{found['macs'] / 1e6:.3g} M",
            ]
        )
    return rows
