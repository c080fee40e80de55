"""The published conditions that the study is about: which rows of the two sources are one device; milliseconds.

A device is a chip with its runtime, precision and batch. Qualcomm's latencies are of one image on the NPU; timm's are
of a whole batch on GPUs and of one image on CPUs.
"""

from dataclasses import dataclass

import pandas as pd

from experiments.latency_transfer.data import data_folder

QUALCOMM = "qualcomm"
TIMM = "timm"


@dataclass(frozen=True)
class Condition:
    """A device of the study.

    Attributes
    ----------
    name : as typed behind ``--device``.
    chip : processor and product.
    source : whose figures these are.
    select : values of the source's columns.
    runtime, version : what ran the networks, in the words of `nas.devices.runtimes` where it is one of them.
    precision : of weights and activations.
    batch : images of an inference.
    kind : npu, cpu or gpu.
    """

    name: str
    chip: str
    source: str
    select: dict[str, str]
    runtime: str
    version: str
    precision: str
    batch: int = 1
    kind: str = "npu"

    @property
    def product(self) -> str:
        """Devices of one product are left out together."""
        return self.select["device"]

    def rows(self) -> pd.DataFrame:
        """Columns ``network`` (as it is made), ``resolution`` and ``latency_ms``."""
        return (_qualcomm if self.source == QUALCOMM else _timm)(self)


def _qualcomm(condition: Condition) -> pd.DataFrame:
    folder = data_folder() / "published_models"
    made = pd.read_csv(folder / "qaihub_models.csv").dropna(subset=["build", "resolution"])
    made = made.assign(resolution=made["resolution"].astype(str).str.split("x").str[0].astype(int))
    rows = pd.read_csv(folder / "qaihub_perf.csv")
    for column, value in condition.select.items():
        rows = rows[rows[column] == value]
    # A network with layers on the CPU is another device; one whose two measurements disagree tells nothing.
    rows = rows[(rows["compute_unit"] == "NPU") & (rows["layers_cpu"].fillna(0) == 0) & (rows["unstable"] != 1)]
    rows = rows.merge(made[["model", "build", "resolution"]], on="model")
    return rows.rename(columns={"build": "network"})[["network", "resolution", "latency_ms"]]


def _timm(condition: Condition) -> pd.DataFrame:
    rows = pd.read_csv(data_folder() / "published_models" / "timm_infer.csv")
    for column, value in condition.select.items():
        rows = rows[rows[column].astype(str) == value]
    # Where memory was short the batch is smaller: that is another device.
    rows = rows[rows["batch"] == condition.batch]
    rows = rows.assign(network="timm:" + rows["model"], latency_ms=rows["step_time_ms"])
    return rows[["network", "resolution", "latency_ms"]]


_BOARDS = (
    ("galaxy-s25-npu", "Samsung Galaxy S25", "Samsung Galaxy S25 (Snapdragon 8 Elite for Galaxy)"),
    ("galaxy-s24-npu", "Samsung Galaxy S24", "Samsung Galaxy S24 (Snapdragon 8 Gen 3)"),
    ("snapdragon-8-elite-gen5-npu", "Snapdragon 8 Elite Gen 5 QRD", "Snapdragon 8 Elite Gen 5, reference phone"),
    ("snapdragon-7-gen4-npu", "Snapdragon 7 Gen 4 QRD", "Snapdragon 7 Gen 4, reference phone"),
    ("qcs8550-npu", "QCS8550 (Proxy)", "Qualcomm QCS8550, measured on a phone with a like chip"),
    ("iq-9075-npu", "Dragonwing IQ-9075 EVK", "Qualcomm Dragonwing IQ-9075 board"),
    ("rb3-gen2-npu", "Dragonwing RB3 Gen 2 Vision Kit", "Qualcomm RB3 Gen 2 board (QCS6490)"),
    ("q-6690-npu", "Dragonwing Q-6690 MTP", "Qualcomm Dragonwing Q-6690, reference board"),
    ("sa7255p-npu", "SA7255P ADP", "Qualcomm SA7255P, automotive board"),
    ("snapdragon-x-elite-npu", "Snapdragon X Elite CRD", "Snapdragon X Elite, reference laptop"),
)


def _npus() -> list[Condition]:
    found = []
    for name, device, chip in _BOARDS:
        runtime, version = ("onnx", "1.23, QNN 2.37") if "X Elite" in device else ("tflite", "2.17, QNN 2.42")
        for published, precision in (("float", "float16"), ("w8a8", "int8")):
            found.append(
                Condition(
                    name if precision == "float16" else f"{name}-int8",
                    f"{chip}, NPU",
                    QUALCOMM,
                    {"device": device, "precision": published, "runtime": runtime},
                    {"onnx": "onnxruntime", "tflite": "litert"}[runtime],
                    version,
                    precision,
                )
            )
    return found


def _compiled(name: str, chip: str, device: str, kind: str, version: str, batch: int = 1) -> Condition:
    precision, published = ("float32", "fp32") if kind == "cpu" else ("float16", "amp")
    select = {"device": device, "torch": version, "mode": "dynamo", "layout": "nchw", "precision": published}
    return Condition(name, chip, TIMM, select, "pytorch-compiled", version, precision, batch, kind)


def _eager(name: str, chip: str, device: str, version: str, layout: str, batch: int) -> Condition:
    select = {"device": device, "torch": version, "mode": "eager", "layout": layout, "precision": "amp"}
    return Condition(name, chip, TIMM, select, "pytorch-cuda", version, "float16", batch, "gpu")


CONDITIONS = (
    *_npus(),
    _compiled("core-i7-12700h", "Intel Core i7-12700H", "i7_12700h", "cpu", "2.4.0"),
    _compiled("core-i9-10940x", "Intel Core i9-10940X", "i9_10940x", "cpu", "2.4.0"),
    _eager("rtx-3090", "NVIDIA GeForce RTX 3090", "rtx3090", "2.4.0", "nhwc", 1024),
    _eager("rtx-4090", "NVIDIA GeForce RTX 4090", "rtx4090", "2.9.1", "nchw", 1024),
    _compiled("rtx-4090-compiled", "NVIDIA GeForce RTX 4090", "rtx4090", "gpu", "2.9.1", 1024),
    _eager("rtx-5090", "NVIDIA GeForce RTX 5090", "rtx5090", "2.9.1", "nchw", 1024),
    _eager("rtx-pro-6000", "NVIDIA RTX PRO 6000 Max-Q", "pro6000maxq", "2.9.1", "nchw", 2048),
    _compiled("rtx-pro-6000-compiled", "NVIDIA RTX PRO 6000 Max-Q", "pro6000maxq", "gpu", "2.9.1", 2048),
)
