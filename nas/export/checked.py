"""Exporting a file and checking it: it is run in its own runtime, next to PyTorch, on real images, before it is kept.

Accuracy is a fraction in [0, 1]; drops are fractions too.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from latency_tables.files import atomic_path, read_json, shown, write_text
from latency_tables.scratch import scratch_folder
from nas.data import ImageData, Split, prepare
from nas.evaluation import calibration_batches
from nas.evaluation.confusion import Confusion
from nas.export.inference import open_file
from nas.export.network_file import FileKind, describe, network_file
from nas.export.parity import Parity, check_parity, outputs
from nas.supernet import Subnet

PARITY_IMAGES = 256
"""Compared with PyTorch in float32."""
CALIBRATION_IMAGES = 128
"""From which int8 learns the ranges of activations."""
JUDGED_AT_ONCE = 64
REJECTED = ".rejected"
"""In the name of a file that lost too much accuracy."""


def export_checked(
    subnet: Subnet,
    data: ImageData,
    path: Path,
    kind: FileKind,
    *,
    batch: int | None = 1,
    max_accuracy_drop: float = 0.01,
    objective: str = "accuracy",
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Export `subnet`, run the file in its own runtime next to PyTorch, and write it with a JSON file beside it.

    A float32 file must compute what PyTorch computes, or nothing is written. An int8 file is judged by its accuracy
    on the search-validation split; one that lost too much has ``.rejected`` in its name. The test split is read last
    and decides nothing. Without labelled images only agreement with PyTorch can be told.

    Parameters
    ----------
    path : where the file goes; ``<path>.json`` goes beside it.
    kind : of file.
    batch : images an inference takes; None leaves it open in ONNX, and is 1 in TFLite.
    max_accuracy_drop : of int8 against float32, as a fraction.
    objective : what that drop is of, ``accuracy`` or ``balanced_accuracy``.
    provenance : JSON-able facts about where the network comes from.

    Returns
    -------
    What lies in the JSON file.

    Raises
    ------
    ParityFailed : the float32 file computes something else than PyTorch.
    MissingExtra, ValueError : see `nas.export.network_file.network_file`.
    OSError : it cannot be written; what was there is as it was.
    """
    facts = about(data) | dict(provenance or {})
    content = calibrated_file(subnet, kind, data, batch=batch, metadata=facts)
    with scratch_folder() as scratch:
        candidate = scratch / path.name
        candidate.write_bytes(content)
        judged: dict[str, Any]
        accepted = True
        if kind.precision == "float32":
            parity = check_parity(candidate, subnet, _parity_images(subnet, data))
            judged = {"parity": asdict(parity)}
            if data.labelled:
                judged |= _scores(_confusion(candidate, subnet, data.validation, data))
                test = _confusion(candidate, subnet, data.test, data)
                judged |= _scores(test, "test_") | {"test": test.record()}
        elif not data.labelled:
            pieces = torch.split(_parity_images(subnet, data), JUDGED_AT_ONCE)
            judged = {"parity": asdict(outputs(candidate, subnet, pieces).parity)}
        else:
            on_validation = judge_int8(candidate, subnet, data.validation, data)
            on_test = judge_int8(candidate, subnet, data.test, data)
            drop = on_validation.float32.score(objective) - on_validation.int8.score(objective)
            judged = {
                "parity": asdict(on_validation.parity),
                **_scores(on_validation.int8),
                **_scores(on_validation.float32, "float32_"),
                **_scores(on_test.int8, "test_"),
                **_scores(on_test.float32, "float32_test_"),
                "accuracy_drop": drop,
                "max_accuracy_drop": max_accuracy_drop,
                "test": on_test.int8.record(),
            }
            # Rounded, so that a drop of exactly the limit is not lost to arithmetic.
            accepted = round(judged["accuracy_drop"] - max_accuracy_drop, 9) <= 0
    written, stale = _names(path) if accepted else _names(path)[::-1]
    images = 1 if batch is None and kind.format == "tflite" else batch
    costs = subnet.space.costs(subnet.genotype[None], kind.precision)
    record = {
        "file": written.name,
        "format": kind.format,
        "precision": kind.precision,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "batch": images,
        "peak_activation_bytes": (images or 1) * int(costs.peak_activation_bytes[0]),
        "accepted": accepted,
        "objective": objective,
        **judged,
        "input": _input(kind, images, subnet.resolution),
        **describe(subnet, facts),
    }
    with atomic_path(written) as temporary:
        temporary.write_bytes(content)
    write_record(path.parent, record)
    for outdated in (stale, _beside(stale)):
        outdated.unlink(missing_ok=True)
    return record


def check_replaceable(paths: Sequence[Path], kinds: Sequence[FileKind], subnet: Subnet | None, search: str) -> None:
    """Refuse to write where files of another network or precision lie, which an export would replace or delete.

    Parameters
    ----------
    paths : where each file goes.
    kinds : of each file.
    subnet : the network; None in the run folder, whose files are of its network.
    search : run folder that it comes from, as its files say it.

    Raises
    ------
    ValueError : a file is there, and the JSON file beside it names neither these weights nor this search, or another
        precision.
    """
    own = None if subnet is None else describe(subnet)["weights_sha256"]
    wanted = [(name, kind) for path, kind in zip(paths, kinds, strict=True) for name in _names(path)]
    for file, kind in wanted:
        if not (file.exists() or _beside(file).exists()):
            continue
        known: dict[str, Any] = {}
        with suppress(ValueError, OSError):
            known = read_json(_beside(file), dict[str, Any])
        if own is not None and known.get("weights_sha256") != own and known.get("search") != search:
            raise ValueError(
                f"{file} is of another network, or of an unknown one, and would be replaced or deleted; name another "
                "place with --out PATH, or delete it first"
            )
        if (precision := known.get("precision", kind.precision)) != kind.precision:
            raise ValueError(
                f"{file} is the network in {shown(precision)}, and exporting it in {kind.precision} would replace or "
                "delete that; name another place with --out PATH, or delete it first"
            )


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write what is known of an exported file into the JSON file beside it."""
    write_text(_beside(folder / record["file"]), json.dumps(record, indent=2) + "\n")


def rejections(exports: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each file that lost too much accuracy."""
    return [sentence(record) for record in exports if not record["accepted"]]


def sentence(record: Mapping[str, Any]) -> str:
    """What is to be said of an exported file."""
    parity = record["parity"]
    said = f"{record['file']}: {record['bytes']:,} bytes"
    if timed := record.get("latency"):
        said += f", {timed['latency_ms']:.3g} ms in {timed['runtime']} on {timed['device']}"
    if "test_accuracy" in record:
        said += f"; test {record['test_accuracy']:.2%} ± {record['test_accuracy_error']:.2%}"
    same_class = f"same class on {parity['top1_agreement']:.1%}"
    if record["precision"] == "float32":
        difference = f"logits differ from PyTorch by at most {parity['max_abs_difference']:.2g}"
        return f"{said}; {difference} on {parity['n']} images, {same_class}"
    if "accuracy" not in record:
        return (
            f"{said}; {same_class} of {parity['n']} synthesised images as in float32; what int8 costs in accuracy is "
            "not known, for lack of labelled images"
        )
    points = 100 * record["accuracy_drop"]
    verdict = "" if record["accepted"] else f", more than the {100 * record['max_accuracy_drop']:g} allowed: rejected"
    return (
        f"{said}; {record['objective'].replace('_', ' ')} {record[record['objective']]:.2%} on {parity['n']} "
        f"search-validation images, "
        f"{abs(points):.2f} points {'below' if points >= 0 else 'above'} float32{verdict}; {same_class}"
    )


def about(data: ImageData) -> dict[str, Any]:
    """What whoever runs the network must know: classes, normalisation (of pixels divided by 255), side of images, and
    which values of deep pictures become pixels 0 and 255, where there were such."""
    return {
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        **({"value_range": list(data.value_range)} if data.value_range else {}),
        "stored_resolution": data.resolution,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
    }


def calibrated_file(
    subnet: Subnet,
    kind: FileKind,
    data: ImageData,
    *,
    batch: int | None = 1,
    metadata: Mapping[str, Any] | None = None,
) -> bytes:
    """`nas.export.network_file.network_file`, calibrated on training images."""
    calibration = None
    if kind.precision == "int8":
        batches = calibration_batches(data, subnet.resolution, n_images=CALIBRATION_IMAGES)
        calibration = torch.cat(list(batches)).contiguous().numpy()
    return network_file(subnet, kind, batch=batch, calibration=calibration, metadata=metadata)


@dataclass(frozen=True)
class Int8Judged:
    """Predictions of an int8 file and of the same network in float32 on a split, and how far they agree.

    Attributes
    ----------
    outputs : of the int8 file, before softmax, shape (n, classes).
    """

    int8: Confusion
    float32: Confusion
    parity: Parity
    outputs: NDArray[np.float32]


def judge_int8(path: Path, subnet: Subnet, split: Split, data: ImageData) -> Int8Judged:
    """Predictions of the file and of PyTorch on a split."""
    found = outputs(path, subnet, _prepared(split, subnet, data))
    labels, n_classes = split.labels.numpy(), len(data.classes)
    int8, float32 = (Confusion.of(labels, o.argmax(axis=1), n_classes) for o in (found.exported, found.expected))
    return Int8Judged(int8, float32, found.parity, found.exported)


def _confusion(path: Path, subnet: Subnet, split: Split, data: ImageData) -> Confusion:
    """Predictions of the file alone."""
    run = open_file(path)
    classes = [run(images.contiguous().numpy()).argmax(axis=1) for images in _prepared(split, subnet, data)]
    return Confusion.of(split.labels.numpy(), np.concatenate(classes), len(data.classes))


def _scores(confusion: Confusion, of: str = "") -> dict[str, float]:
    """Both accuracies under names that begin with `of`, each with its standard error."""
    return {
        f"{of}accuracy": confusion.accuracy,
        f"{of}accuracy_error": confusion.accuracy_error,
        f"{of}balanced_accuracy": confusion.balanced_accuracy,
        f"{of}balanced_accuracy_error": confusion.balanced_accuracy_error,
    }


def _parity_images(subnet: Subnet, data: ImageData) -> torch.Tensor:
    """Validation images of all classes, and training images where those are too few."""
    images: list[torch.Tensor] = []
    for split in (data.validation, data.train):
        n = min(PARITY_IMAGES - sum(map(len, images)), len(split))
        images.append(split.batch(np.linspace(0, len(split) - 1, n).astype(np.int64)))
    return prepare(torch.cat(images), subnet.resolution, data.mean, data.std)


def _prepared(split: Split, subnet: Subnet, data: ImageData) -> Iterator[torch.Tensor]:
    for images, _ in split.batches(JUDGED_AT_ONCE):
        yield prepare(images, subnet.resolution, data.mean, data.std)


def _input(kind: FileKind, batch: int | None, side: int) -> str:
    """How an image becomes the file's input, in words."""
    images = "n" if batch is None else batch
    layout = f"({images}, 3, {side}, {side})" if kind.format == "onnx" else f"({images}, {side}, {side}, 3)"
    text = (
        "the middle square of the upright picture, resized to stored_resolution and from there to resolution; RGB "
        f"pixels / 255, minus mean, divided by std, as {layout}"
    )
    if (kind.format, kind.precision) == ("tflite", "int8"):
        return (
            f"{text}; then divided by the input tensor's scale, plus its zero point, rounded, clipped to -128..127, as "
            "int8"
        )
    return text


def _names(path: Path) -> tuple[Path, Path]:
    """Of a file that is accepted, and of one that is rejected."""
    return path, path.with_name(path.stem + REJECTED + path.suffix)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + ".json")
