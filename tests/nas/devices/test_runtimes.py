"""Every runtime passes the same test: its own file is written, run in its process, and a larger net takes longer."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nas.devices import agent
from nas.devices.agent import RUNTIMES as LOADERS
from nas.devices.device import Device
from nas.devices.protocol import Protocol
from nas.devices.runtimes import RUNTIMES
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable
from nas.errors import MissingExtra
from nas.export.layer_graph import network_layers
from nas.export.onnx_graph import onnx_graph
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")
SLOW = ("pytorch-compiled",)  # half a minute a network


def test_the_agent_runs_every_runtime_that_is_offered() -> None:
    assert {name: runtime.module for name, runtime in RUNTIMES.items()} == {
        n: module for n, (module, _) in LOADERS.items()
    }


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [(name, precision) for name, runtime in RUNTIMES.items() if name not in SLOW for precision in runtime.precisions],
)
def test_runtimes_measure(runtime: str, precision: str, tmp_path: Path) -> None:
    spec = DeviceSpec("x", runtime=runtime, precision=precision)
    device = Device(spec, folder=tmp_path, protocol=Protocol(rounds=5, runs=3, seconds=0.5))
    try:
        table = device.measure(SPACE, np.stack([SPACE.min, SPACE.max]))
    except MissingExtra as error:
        pytest.skip(str(error))
    except DeviceUnavailable as error:
        if precision == "float16" and "does not compute in float16 on this processor" in str(error):
            pytest.skip(str(error))
        if not runtime.endswith("cuda") or shutil.which("nvidia-smi"):
            raise
        assert any(words in str(error) for words in ("no CUDAExecutionProvider", "sees no NVIDIA GPU"))  # noqa: PT017
        pytest.skip("no NVIDIA GPU")
    smallest, largest = table.rows["latency_ms"]
    assert 0.01 < smallest < largest < 1000
    assert table.rows["precision"].tolist() == [precision] * 2
    assert table.card.runtime == runtime
    assert table.card.runtime_version not in ("", "unknown")


@pytest.mark.parametrize(("runtime", "precision"), [("ncnn", "float32"), ("litert", "int8")])
def test_some_run_one_image_at_a_time(runtime: str, precision: str) -> None:
    with pytest.raises(ValueError, match="one image at a time; leave --batch out"):
        Device(DeviceSpec("x", runtime=runtime, precision=precision), batch=8)
    with pytest.raises(ValueError, match="at batch 1"):
        RUNTIMES[runtime].precisions[precision](SPACE, SPACE.min, 8)


def test_a_batch_takes_longer_than_an_image(tmp_path: Path) -> None:
    device = Device(DeviceSpec("x"), folder=tmp_path, protocol=Protocol(rounds=5, runs=3))
    one = device.measure(SPACE, SPACE.min[None]).rows["latency_ms"][0]
    many = Device(DeviceSpec("x"), folder=tmp_path, protocol=Protocol(rounds=5, runs=3), batch=8)
    eight = many.measure(SPACE, SPACE.min[None]).rows["latency_ms"][0]
    assert eight > 2 * one
    assert many.table.known(SPACE)[1].tolist() == [eight]
    assert many.table.profile_path(SPACE).name == f"x.{SPACE.name}.batch8.profile.json"
    stored = device.table.read()
    assert stored is not None
    assert stored.rows["batch"].tolist() == [1, 8]


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_file_with_an_open_batch_is_measured_with_one_image(runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    path = tmp_path / "open.onnx"
    path.write_bytes(onnx_graph(network_layers(SPACE, SPACE.min), batch=None).SerializeToString())
    device = Device(DeviceSpec("x", runtime=runtime), folder=tmp_path, protocol=Protocol(rounds=5, runs=3))
    (measured,) = device.measure_models([path]).measurements
    assert 0.01 < measured.latency_ms < 1000


def test_a_gpu_that_onnxruntime_cannot_use_is_not_measured_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnTheProcessor:
        def __init__(self, *arguments: object, **options: object) -> None:
            pass

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

        def get_inputs(self) -> list[object]:
            return []

    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: both)
    monkeypatch.setattr("onnxruntime.InferenceSession", OnTheProcessor)
    with pytest.raises(agent.Failure, match="cannot use CUDAExecutionProvider here: its CUDA or cuDNN libraries"):
        agent.load_onnxruntime_cuda("net.onnx", 1, "float32")
    agent.load_onnxruntime("net.onnx", 1, "float32")


def test_what_nvidia_smi_says_of_its_failure_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for code, name in ((0, "Fast, 550.1"), (9, "")):
        program.write_text(f"#!/bin/sh\necho 'Fast, 550.1'\nexit {code}\n")
        program.chmod(0o755)
        assert agent.gpu() == name
