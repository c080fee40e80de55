"""From a chosen genotype to files that run: finalists measured as they would ship, the winner exported.

Latency is measured on the exported file with its trained weights, not on a stand-in.
"""

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.data import prepare
from nas.devices import Device
from nas.export.onnx_export import export_onnx
from nas.export.parity import Parity, check_parity
from nas.search.verification import Measure
from nas.supernet import Subnet, save_subnet
from nas.training import evaluate_on_test
from nas.training.run import TrainedSupernet
from search_spaces import Population

Track = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

WEIGHTS, MODEL = "subnet.safetensors", "subnet.onnx"
PARITY_IMAGES = 128


def measure_exported(trained: TrainedSupernet, device: Device, track: Track) -> Measure:
    """A function that exports networks, measures the files on `device` and gives latency, p10 and p90 in ms."""

    def measure(population: Population) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        with tempfile.TemporaryDirectory(prefix="nas-") as scratch, track("measuring finalists") as progress:
            paths = [Path(scratch) / f"finalist{i}.onnx" for i in range(len(population))]
            for path, genotype in zip(paths, population, strict=True):
                export_onnx(trained.subnet(genotype), path)
            measured = device.measure_models(paths, progress=progress).measurements
        latency, p10, p90 = np.array([(m.latency_ms, m.p10_ms, m.p90_ms) for m in measured]).T
        return latency, p10, p90

    return measure


def deploy(trained: TrainedSupernet, genotype: Population, folder: Path, *, batch: int | None = 1) -> dict[str, Any]:
    """Write the network of `genotype` into `folder` and check it; the last word on its accuracy.

    Returns
    -------
    JSON-able facts for the record: accuracy on the test split, parity with PyTorch on test images, files.

    Raises
    ------
    ParityFailed : the exported file computes something else than PyTorch.
    """
    subnet = trained.subnet(genotype)
    save_subnet(folder / WEIGHTS, subnet, about(trained))
    parity = export_checked(subnet, trained, folder / MODEL, batch=batch)
    data = trained.data
    return {
        "test_accuracy": evaluate_on_test(subnet, data),
        "test_images": len(data.test),
        "classes": list(data.classes),
        "parity": asdict(parity),
        "files": {"network": MODEL, "weights": WEIGHTS},
    }


def export_checked(subnet: Subnet, trained: TrainedSupernet, path: Path, *, batch: int | None = 1) -> Parity:
    """Export `subnet` to ONNX and compare it with PyTorch on images of the test split."""
    export_onnx(subnet, path, batch=batch, metadata=about(trained))
    data = trained.data
    images = prepare(data.test.images[:PARITY_IMAGES], subnet.resolution, data.mean, data.std)
    return check_parity(path, subnet, images)


def about(trained: TrainedSupernet) -> dict[str, Any]:
    """What whoever runs the network must know: classes and normalisation (of pixels divided by 255)."""
    data = trained.data
    return {"classes": list(data.classes), "mean": list(data.mean), "std": list(data.std)}
