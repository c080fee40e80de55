"""The images that a given network is meant for: their size and how they are normalised."""

from pathlib import Path

import pytest
import torch
from torchvision.models import get_model

from nas.tracing import adopt, load_model
from tests.nas.tracing.user_networks import Small

OWN = "tests.nas.tracing.user_networks"
SIDE = 64


def test_images_are_normalised_as_timm_says_that_a_network_expects() -> None:
    pytest.importorskip("timm", reason="needs the extra timm")
    model = load_model("timm:tf_efficientnet_lite0", num_classes=2, resolution=32)
    assert model.normalisation == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert adopt(model, [32]).normalisation == model.normalisation
    assert load_model("torchvision:mobilenet_v3_small").normalisation is None


@pytest.mark.parametrize(
    ("name", "side", "half"), [("googlenet", 224, True), ("efficientnet_b1", 240, False), ("resnet18", 224, False)]
)
def test_images_are_those_that_torchvisions_weights_are_meant_for(
    tmp_path: Path, name: str, side: int, half: bool
) -> None:
    torch.save(get_model(name, num_classes=5).state_dict(), tmp_path / "w.pth")
    model = load_model(f"torchvision:{name}", tmp_path / "w.pth")
    mean, std = ((0.5,) * 3, (0.5,) * 3) if half else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (model.resolution, model.normalisation) == (side, (mean, std))
    said, *larger = model.notes
    assert f"mean {mean[0]:g}, {mean[1]:g}, {mean[2]:g} and standard deviation {std[0]:g}, " in said
    assert [f"are for images of {side} pixels" in note for note in larger] == [True] * (side > 224)
    assert len(load_model(f"torchvision:{name}", tmp_path / "w.pth", resolution=SIDE).notes) == 1


def test_pixels_from_minus_one_to_one_are_what_such_a_network_makes_of_them() -> None:
    network = get_model("googlenet", num_classes=5, transform_input=True, init_weights=False)
    pixels = torch.rand(2, 3, 8, 8)
    mean, std = (torch.tensor(n)[:, None, None] for n in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    torch.testing.assert_close(network._transform_input((pixels - mean) / std), (pixels - 0.5) / 0.5)


def test_a_network_of_timm_says_it_too_where_the_users_own_function_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_model(f"{OWN}:of_timm").normalisation == ((0.5, 0.4, 0.3), (0.25, 0.25, 0.5))
    for odd in (
        None,
        "a name",
        {"mean": 0.5, "std": 0.5},
        {"mean": (0.5,) * 3},
        {"mean": (0.5,) * 3, "std": (0, 1, 1)},
    ):
        module = Small()
        module.default_cfg = odd
        monkeypatch.setattr(f"{OWN}.small", lambda module=module: module)
        assert load_model(f"{OWN}:small").normalisation is None
