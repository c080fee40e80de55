"""Exported files against PyTorch, on real images; and files that were broken on purpose."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from nas.data.dataset import ImageData
from nas.data.load import load_data
from nas.data.transforms import prepare
from nas.export.onnx_export import export_onnx, read_metadata
from nas.export.parity import ParityFailed, check_parity
from nas.supernet.subnet import Subnet
from search_spaces import SPACES, SearchSpace, get_space


def trained_like(space: SearchSpace, genotype: np.ndarray | None = None, seed: int = 0) -> Subnet:
    """A subnet whose batch-norms are not the identity, as after training."""
    torch.manual_seed(seed)
    subnet = Subnet(space, space.max if genotype is None else genotype)
    for module in subnet.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return subnet.eval()


def small(name: str) -> SearchSpace:
    """The space at 64 pixels where it can be: what is compared does not depend on it, and it takes a tenth."""
    try:
        return get_space(name, resolutions=[64])
    except ValueError:
        return get_space(name)


@lru_cache
def digits() -> ImageData:
    return load_data("digits")


def real_images(resolution: int, n: int = 4) -> torch.Tensor:
    data = digits()
    return prepare(data.test.images[:n], resolution, data.mean, data.std)


@pytest.mark.parametrize("name", SPACES)
def test_twenty_random_subnets_of_every_space(name: str, tmp_path: Path) -> None:
    space = small(name)
    for seed, genotype in enumerate(space.sample(20, np.random.default_rng(1))):
        subnet = trained_like(space, genotype, seed)
        path = tmp_path / "subnet.onnx"
        export_onnx(subnet, path, batch=None)
        images = real_images(subnet.resolution, 2)
        parity = check_parity(path, subnet, images)
        assert parity.n == 2
        assert parity.top1_agreement == 1


@pytest.mark.parametrize("batch", [1, 3, None])
def test_any_batch_size(batch: int | None, tmp_path: Path) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    export_onnx(subnet, tmp_path / "subnet.onnx", batch=batch)
    parity = check_parity(tmp_path / "subnet.onnx", subnet, real_images(32, 7))
    assert parity.n == 7
    assert parity.max_abs_difference < 1e-3 * max(1, parity.max_abs_logit)
    assert not subnet.training


@pytest.mark.parametrize("nudge", [0.5, float("nan")])
def test_a_changed_weight_is_found(nudge: float, tmp_path: Path) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = tmp_path / "subnet.onnx"
    model = export_onnx(subnet, path)
    tensor = model.graph.initializer[0]
    array = numpy_helper.to_array(tensor).copy()
    array[0] += nudge
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(model, path)
    with pytest.raises(ParityFailed, match="differs from PyTorch"):
        check_parity(path, subnet, real_images(32))


def test_other_normalisation_statistics_are_found(tmp_path: Path) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    export_onnx(subnet, tmp_path / "subnet.onnx")
    next(m for m in subnet.modules() if isinstance(m, torch.nn.BatchNorm2d)).running_mean += 0.3
    with pytest.raises(ParityFailed):
        check_parity(tmp_path / "subnet.onnx", subnet, real_images(32))


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = tmp_path / "subnet.onnx"
    export_onnx(subnet, path, metadata={"classes": ["a", "b"], "mean": [0.5, 0.5, 0.5]})
    about = read_metadata(path)
    assert about["architecture"] == subnet.architecture
    assert about["classes"] == '["a", "b"]'
    assert about["resolution"] == "32"
    assert len(about["weights_sha256"]) == 64
    with torch.no_grad():
        next(subnet.parameters()).add_(1)
    export_onnx(subnet, path)
    assert read_metadata(path)["weights_sha256"] != about["weights_sha256"]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.onnx").write_bytes(b"no protobuf at all")
    with pytest.raises(ValueError, match="is not an ONNX model"):
        read_metadata(tmp_path / "noise.onnx")
    with pytest.raises(ValueError, match="there is no file"):
        read_metadata(tmp_path / "absent.onnx")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subnet = trained_like(get_space("mobilenet_v3_small_images"))
    path = tmp_path / "subnet.onnx"
    export_onnx(subnet, path)
    before = path.read_bytes()

    def full_disk(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(subnet, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["subnet.onnx"]
