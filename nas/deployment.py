"""From a chosen genotype to files that run: finalists measured as they would ship, the winner exported and judged.

Latency is measured on the exported file with its trained weights, in the runtime and precision of the device, and
where that is int8, accuracy is the int8 file's. Accuracy is a fraction in [0, 1]; drops are fractions too.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data import ImageData
from nas.devices import Device
from nas.devices.runtimes import RUNTIMES, file_kind
from nas.export.checked import about, calibrated_file, export_checked, judge_int8, sentence, write_record
from nas.export.network_file import FileKind
from nas.listener import Track
from nas.search.verification import Evaluate, Measure
from nas.supernet import Subnet, save_subnet
from nas.training import evaluate_on_test
from nas.training.run import TrainedSupernet
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
        with tempfile.TemporaryDirectory(prefix="nas-") as scratch, track("measuring finalists") as progress:
            paths = [Path(scratch) / f"finalist{i}{runtime.suffix}" for i in range(len(population))]
            for path, genotype in zip(paths, population, strict=True):
                if kind is None:
                    content = runtime.precisions[spec.precision](trained.space, genotype, 1)
                else:
                    content = calibrated_file(trained.subnet(genotype), kind, trained.data)
                path.write_bytes(content)
            measured = device.measure_models(paths, progress=progress).measurements
        latency, p10, p90 = np.array([(m.latency_ms, m.p10_ms, m.p90_ms) for m in measured]).T
        return latency, p10, p90

    return measure


def evaluate_exported(trained: TrainedSupernet, device: Device) -> Evaluate:
    """A function that gives the accuracy of networks on the search-validation split, in the precision of `device`."""
    kind = file_kind(device.spec.runtime, device.spec.precision)
    if kind is None or kind.precision == "float32":
        return trained.evaluated

    def evaluate(population: Population) -> NDArray[np.float64]:
        found = []
        for genotype in population:
            subnet = trained.subnet(genotype)
            with tempfile.TemporaryDirectory(prefix="nas-") as scratch:
                path = Path(scratch) / kind.file_name
                path.write_bytes(calibrated_file(subnet, kind, trained.data))
                found.append(judge_int8(path, subnet, trained.data.validation, trained.data)["accuracy"])
        return np.array(found)

    return evaluate


def deploy(
    trained: TrainedSupernet,
    genotype: Population,
    folder: Path,
    kinds: Sequence[FileKind] = (FileKind(),),
    *,
    batch: int | None = 1,
    max_accuracy_drop: float = 0.01,
    provenance: Mapping[str, Any] | None = None,
    device: Device | None = None,
) -> dict[str, Any]:
    """Write the network of `genotype` into `folder` and check it; the last word on its accuracy.

    Parameters
    ----------
    kinds : of files, the one that counts first.
    batch, max_accuracy_drop, provenance : see `export_checked`.
    device : of the search. Where several files are written and it is this machine, each is measured in its runtime.

    Returns
    -------
    JSON-able facts for the record: accuracy on the test split, of the first file if that is int8; files, what is
    known of each, parity with PyTorch of the first float32 one.

    Raises
    ------
    ParityFailed : an exported file computes something else than PyTorch.
    """
    facts = deploy_subnet(
        trained.subnet(genotype),
        trained.data,
        folder,
        kinds,
        batch=batch,
        max_accuracy_drop=max_accuracy_drop,
        provenance=provenance,
    )
    if device is not None and len(kinds) > 1:
        measure_exports(facts["exports"], folder, device)
    return facts | {"notes": [sentence(record) for record in facts["exports"]]}


def deploy_subnet(
    subnet: Subnet,
    data: ImageData,
    folder: Path,
    kinds: Sequence[FileKind],
    *,
    batch: int | None = 1,
    max_accuracy_drop: float = 0.01,
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
            provenance=provenance,
        )
        for kind in kinds
    ]
    test_accuracy = {"test_accuracy": evaluate_on_test(subnet, data)}
    if exports[0]["precision"] == "int8":
        judged = judge_int8(folder / exports[0]["file"], subnet, data.test, data)
        test_accuracy = {"test_accuracy": judged["accuracy"], "float32_test_accuracy": judged["float32_accuracy"]}
    facts: dict[str, Any] = {
        **test_accuracy,
        "test_images": len(data.test),
        "classes": list(data.classes),
        "exports": exports,
        "files": {_title(record): record["file"] for record in exports} | {"weights": WEIGHTS},
        "notes": [sentence(record) for record in exports],
    }
    exact = [record["parity"] for record in exports if record["precision"] == "float32"]
    return facts | ({"parity": exact[0]} if exact else {})


def measure_exports(exports: Sequence[dict[str, Any]], folder: Path, device: Device) -> None:
    """Measure each file on this machine, in its own runtime and precision, under the conditions of `device`.

    Files that its runtime cannot run, and devices that are elsewhere, are passed over.

    Parameters
    ----------
    exports : as `export_checked` gave them; get a ``latency``, and so does the JSON file beside each.
    folder : where the files are.
    """
    if device.spec.transport != "local":
        return
    for record in exports:
        suffix = "." + record["format"]
        same = RUNTIMES[device.spec.runtime].suffix == suffix
        runtime = device.spec.runtime if same else {".onnx": "onnxruntime", ".tflite": "litert"}[suffix]
        if record["precision"] not in RUNTIMES[runtime].precisions:
            continue
        spec = replace(device.spec, runtime=runtime, precision=record["precision"])
        near = Device(spec, folder=device.folder, protocol=device.protocol)
        (found,) = near.measure_models([folder / record["file"]]).measurements
        record["latency"] = {"device": device.name, "runtime": runtime, "threads": spec.threads, **asdict(found)}
        write_record(folder, record)


def search_record(folder: Path) -> dict[str, Any]:
    """``result.json`` of a finished search.

    Raises
    ------
    ValueError : `folder` is not that of one.
    """
    path = folder / "result.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not the folder of a finished search: it has no result.json")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def _title(record: Mapping[str, Any]) -> str:
    names = {"onnx": "ONNX", "tflite": "TFLite"}
    return f"{names[record['format']]} {record['precision']}"
