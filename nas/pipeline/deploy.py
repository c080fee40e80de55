"""From a chosen genotype to files that run: finalists measured as they would ship, the winner exported and judged.

Latency is measured on the exported file with its trained weights, in the runtime and precision of the device, and
where that is int8, accuracy is the int8 file's. Accuracy is a fraction in [0, 1]; drops are fractions too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latency_tables.scratch import scratch_folder
from nas.data import ImageData
from nas.devices import Device
from nas.devices.runtimes import RUNTIMES, file_kind
from nas.errors import Failure
from nas.evaluation.accuracy import Answers, answers_of
from nas.evaluation.cache import EvaluatedSubnets
from nas.evaluation.calibrated_loss import calibrated_loss
from nas.evaluation.trained import TrainedSupernet
from nas.export.checked import about, calibrated_file, export_checked, judge_int8, write_record
from nas.export.network_file import FileKind
from nas.progress import Track
from nas.search.finalists.proof import Measure
from nas.supernet import Subnet, save_subnet
from search_spaces import Population

WEIGHTS = "subnet.safetensors"


def measure_exported(trained: TrainedSupernet, device: Device, track: Track) -> Measure:
    """A function that exports networks, measures the files on `device` and gives latency, p10 and p90 in ms.

    Files are of the device's runtime and precision, with their trained weights where we export its format, else
    with random ones, which are as fast.
    """
    spec = device.spec

    def measure(population: Population) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        runtime, kind = RUNTIMES[spec.runtime], file_kind(spec.runtime, spec.precision)
        with scratch_folder() as scratch, track("measuring finalists") as progress:
            paths = [scratch / f"finalist{i}{runtime.suffix}" for i in range(len(population))]
            for path, genotype in zip(paths, population, strict=True):
                if kind is None:
                    content = runtime.precisions[spec.precision](trained.space, genotype, device.batch)
                else:
                    content = _file(trained, genotype, kind, device.batch)
                path.write_bytes(content)
            measured = device.measure_models(paths, progress=progress).measurements
        latency, p10, p90 = np.array([(m.latency_ms, m.p10_ms, m.p90_ms) for m in measured]).T
        return latency, p10, p90

    return measure


def evaluate_exported(trained: TrainedSupernet, device: Device) -> "EvaluatedSubnets | EvaluatedFiles | None":
    """What gives the accuracy of networks on the search-validation split, in the precision of `device`.

    None where there are no labelled images to judge it by.
    """
    if not trained.data.labelled:
        return None
    kind = file_kind(device.spec.runtime, device.spec.precision)
    if kind is None or kind.precision == "float32":
        return trained.evaluated
    return EvaluatedFiles(trained, kind)


class EvaluatedFiles:
    """Accuracy of networks' int8 files, in the way of `EvaluatedSubnets`.

    Parameters
    ----------
    trained : whose networks.
    kind : of their files.
    """

    def __init__(self, trained: TrainedSupernet, kind: FileKind) -> None:
        self.trained, self.kind = trained, kind
        self._losses: dict[bytes, float] = {}

    def __call__(self, population: Population) -> NDArray[np.float64]:
        """Accuracy of each genotype's file, shape ``(n,)``."""
        found, trained, objective = [], self.trained, self.trained.evaluated.objective
        for genotype in population:
            with scratch_folder() as scratch:
                path = scratch / self.kind.file_name
                path.write_bytes(_file(trained, genotype, self.kind))
                judged = judge_int8(path, trained.subnet(genotype), trained.data.validation, trained.data)
            labels = trained.data.validation.labels.numpy()
            self._losses[genotype.tobytes()] = calibrated_loss(judged.outputs, labels, objective)
            found.append(judged.int8.score(objective))
        return np.array(found)

    def losses(self, population: Population) -> NDArray[np.float64]:
        """Calibrated loss of files that have been evaluated, shape ``(n,)``; not a number where it is not known."""
        return np.array([self._losses.get(genotype.tobytes(), np.nan) for genotype in population])


def _file(trained: TrainedSupernet, genotype: Population, kind: FileKind, batch: int = 1) -> bytes:
    """Written once: a finalist is measured several times and evaluated, and calibrating int8 takes seconds."""
    key = kind, genotype.tobytes(), batch
    if key not in trained.files:
        trained.files[key] = calibrated_file(trained.subnet(genotype), kind, trained.data, batch=batch)
    return trained.files[key]


def predictions_as_file(subnet: Subnet, kind: FileKind, data: ImageData) -> Answers:
    """`answers_of` the network in the precision of its file."""
    if kind.precision == "float32":
        return answers_of(subnet, data)
    with scratch_folder() as scratch:
        path = scratch / kind.file_name
        path.write_bytes(calibrated_file(subnet, kind, data))
        validation, test = (judge_int8(path, subnet, split, data).outputs for split in (data.validation, data.test))
        return validation.argmax(axis=1), test.argmax(axis=1)


def deploy(
    trained: TrainedSupernet,
    subnet: Subnet,
    folder: Path,
    kinds: Sequence[FileKind] = (FileKind(),),
    *,
    batch: int | None = 1,
    max_accuracy_drop: float = 0.01,
    provenance: Mapping[str, Any] | None = None,
    device: Device | None = None,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `subnet` of the supernet `trained` into `folder`, check it and judge it on the test split.

    Parameters
    ----------
    kinds : of files, the one that counts first.
    batch, max_accuracy_drop, provenance : see `export_checked`.
    device, known : see `measure_exports`; without a device nothing is measured.

    Returns
    -------
    JSON-able facts for the record: accuracy of the first file on the test split if there is one, input size, images
    by split, files, what is known of each.

    Raises
    ------
    ParityFailed : an exported file computes something else than PyTorch.
    """
    facts = deploy_subnet(
        subnet,
        trained.data,
        folder,
        kinds,
        batch=batch,
        max_accuracy_drop=max_accuracy_drop,
        objective=trained.evaluated.objective,
        provenance=provenance,
    )
    if device is not None:
        measure_exports(facts["exports"], folder, device, known)
    return facts


def deploy_subnet(
    subnet: Subnet,
    data: ImageData,
    folder: Path,
    kinds: Sequence[FileKind],
    *,
    batch: int | None = 1,
    max_accuracy_drop: float = 0.01,
    objective: str = "accuracy",
    provenance: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """As `deploy`, of a network at hand and without measuring."""
    save_subnet(folder / WEIGHTS, subnet, about(data) | dict(provenance or {}))
    exports = [
        export_checked(
            subnet,
            data,
            folder / kind.file_name,
            kind,
            batch=batch,
            max_accuracy_drop=max_accuracy_drop,
            objective=objective,
            provenance=provenance,
        )
        for kind in kinds
    ]
    test = {}
    if data.labelled:
        names = [f"test_{name}{error}" for name in ("accuracy", "balanced_accuracy") for error in ("", "_error")]
        test = {name: exports[0][name] for name in names} | {"test_images": len(data.test)}
    return {
        **test,
        "objective": objective,
        "resolution": subnet.resolution,
        "images": {"train": len(data.train), "search-validation": len(data.validation), "test": len(data.test)},
        "classes": list(data.classes),
        "exports": exports,
        "files": file_names(exports),
    }


def file_names(exports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Names of the files in a run folder by what they are."""
    formats = {"onnx": "ONNX", "tflite": "TFLite"}
    return {f"{formats[e['format']]} {e['precision']}": e["file"] for e in exports} | {"weights": WEIGHTS}


def measure_exports(
    exports: Sequence[dict[str, Any]], folder: Path, device: Device, known: Mapping[str, Any] | None = None
) -> None:
    """Measure each file on this machine, in its own runtime and precision, under the conditions of `device`.

    Files that its runtime cannot run are passed over, and all of them where the device is elsewhere. The files are good
    where measuring fails: the reason becomes their ``not_measured``.

    Parameters
    ----------
    exports : as `export_checked` gave them; get a ``latency``, and so does the JSON file beside each.
    folder : where the files are.
    known : latency_ms, p10_ms and p90_ms of the network as a search has just measured it on `device`: those of its
        file in the device's own runtime and precision, which is not measured again at the device's batch.
    """
    spec = device.spec
    own = file_kind(spec.runtime, spec.precision)
    by_runtime: dict[str, list[dict[str, Any]]] = {}
    for record in exports:
        kind = FileKind(record["format"], record["precision"])
        if known and known["latency_ms"] is not None and kind == own and record["batch"] == device.batch:
            timed = {key: known[key] for key in ("latency_ms", "p10_ms", "p90_ms")}
            keep_latency(
                record, folder, {"device": device.name, "runtime": spec.runtime, "threads": spec.threads} | timed
            )
        elif spec.transport == "local":
            same = RUNTIMES[spec.runtime].suffix == kind.suffix
            runtime = spec.runtime if same else {".onnx": "onnxruntime", ".tflite": "litert"}[kind.suffix]
            alone = device.batch > 1 and kind.precision in RUNTIMES[runtime].one_image
            if kind.precision in RUNTIMES[runtime].precisions and not alone:
                by_runtime.setdefault(runtime, []).append(record)
    for runtime, records in by_runtime.items():
        halved = runtime == spec.runtime and spec.precision == "float16"
        precision = spec.precision if halved else records[0]["precision"]
        near = device.under(replace(spec, runtime=runtime, precision=precision), device.table.folder)
        try:
            found = near.measure_models([folder / record["file"] for record in records]).measurements
        except Failure as error:
            for record in (each for each in records if "latency" not in each):
                record["not_measured"] = str(error)
                write_record(folder, record)
            continue
        for record, measurement in zip(records, found, strict=True):
            conditions = {"device": device.name, "runtime": runtime, "threads": spec.threads}
            keep_latency(record, folder, conditions | asdict(measurement))


def keep_latency(record: dict[str, Any], folder: Path, latency: Mapping[str, Any]) -> None:
    """Put what was measured of a file into its record and into the JSON file beside it."""
    record["latency"] = dict(latency)
    record.pop("not_measured", None)
    write_record(folder, record)
