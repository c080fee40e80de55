"""Trained weights that a training starts from: all are kept but the classifier's."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pictures import photo, photos
from PIL import Image

from nas.data import DataSettings, ImageData, load_data
from nas.errors import MissingExtra
from nas.pipeline.check import check_request
from nas.pipeline.given import space_to_train, supernet_to_train
from nas.pipeline.initial import initial_digest, initial_normalisation, initial_space, initial_supernet
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.pipeline.train import train_supernet
from nas.progress import Listener
from nas.shipped import CARD
from nas.shipped.pretrained import Pretrained, pretrained
from nas.supernet import Supernet, load_supernet, save_supernet
from nas.training.classifier import fit_classifier
from search_spaces import get_space

TRAINED = SimpleNamespace(seconds=1.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    space = get_space("mobilenet_v3_small_images", width_mult=0.5, depths=[1, 2], resolutions=[16], num_classes=10)
    save_supernet(folder, Supernet(space), {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})
    return folder


@torch.no_grad()
def test_an_earlier_run_with_other_classes_gives_its_features(run: Path) -> None:
    request = TrainRequest(init=str(run))
    space = space_to_train(request, 3)
    assert space.num_classes == 3
    assert space.options["depths"] == [1, 2]
    trained, adapted = load_supernet(run)[0], supernet_to_train(request, space)
    features: list[torch.Tensor] = []
    images = torch.randn(2, 3, 16, 16)
    for net in (trained, adapted):
        net.eval().classifier().register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    for genotype in (space.min, *space.sample(2, np.random.default_rng(0)), space.max):
        for net in (trained, adapted):
            net.activate(genotype)
            net(images)
        before, after = features[-2:]
        assert torch.equal(before, after)  # narrow networks too have the channels that they were trained with
    assert adapted(images).shape == (2, 3)
    assert initial_normalisation(str(run)) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_a_shipped_supernet_is_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.shipped.FOLDER", run.parent)
    assert initial_digest(run.name) == initial_digest(str(run))
    with pytest.raises(ValueError, match=f"give efficientnet_lite0, {run.name}, "):
        initial_digest("nothing")


def test_another_option_of_the_space_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="do not fit the space"):
        initial_supernet(str(run), get_space("mobilenet_v3_small_images", width_mult=1.0, num_classes=3))


def test_images_that_the_weights_were_trained_on_are_counted(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More pictures in a class split it anew."""
    about: dict[str, Any] = {}
    monkeypatch.setattr("nas.pipeline.train.fit_classifier", lambda *_, **__: None)
    images: list[ImageData] = []

    def no_training(network: Supernet, data: ImageData, *_: object, about: dict[str, Any], **more: object) -> Any:
        images.append(data)
        written.update(about)
        return TRAINED

    written = about
    monkeypatch.setattr("nas.pipeline.train.train", no_training)
    earlier = shutil.copytree(run, tmp_path / "earlier")
    request = TrainRequest(init=str(earlier), data=DataSettings("folder", str(tmp_path / "photos"), resolution=16))

    def said() -> str:
        told: list[str] = []
        about.clear()
        train_supernet(request, tmp_path / "new", Listener(told.append))
        return "\n".join(told)

    photos(tmp_path / "photos", ["a", "b"], n=10)
    before = load_data(request.data)
    assert "had been trained on" not in said()  # nothing is known
    (earlier / "splits.json").write_text(json.dumps(before.splits()))
    assert "had been trained on" not in said()
    assert "trained_before" not in about
    for seed in range(500, 505):
        photo(tmp_path / "photos" / "a" / f"new_{seed}.png", seed)
    after = load_data(request.data)
    n, n_test = (len({*before.train.names} & {*split.names}) for split in (after.validation, after.test))
    assert n + n_test > 0
    assert f"{n} of the 5 search-validation images and {n_test} of the 5 test images have the names of" in said()
    assert about["trained_before"] == {"validation": n, "test": n_test}
    later = shutil.copytree(run, tmp_path / "later")  # trained from `earlier` and on other images since
    others = {"train": ["a/other.png"], "trained_before": [*before.train.names]}
    (later / "splits.json").write_text(json.dumps(before.splits() | others))
    request = replace(request, init=str(later))
    said()
    assert about["trained_before"] == {"validation": n, "test": n_test}
    assert {*images[-1].splits()["trained_before"]} == {"a/other.png", *before.train.names}
    (later / "splits.json").write_text(json.dumps(before.splits() | {"data": "digits"}))
    assert "had been trained on" not in said()
    assert "trained_before" not in images[-1].splits()
    assert about["starts_trained"]
    assert about["data_settings"]["value_range"] is None
    for number, path in enumerate(sorted((tmp_path / "photos").glob("*/*"))):
        values = np.random.default_rng(number).integers(0, 4000, (16, 16))
        Image.fromarray(values.astype(np.uint16)).save(path)
    assert "values from 0 to 4,095 become black to white" in said()
    assert about["data_settings"]["value_range"] == [0, 4095]


@pytest.mark.parametrize("classes", [["a", "b"], ["b", "a"], ["c", "d"], None], ids=str)
def test_a_classifier_for_the_same_classes_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: list[str] | None
) -> None:
    photos(tmp_path / "photos", ["a", "b"], n=10)
    space = get_space("mobilenet_v3_small_images", width_mult=0.5, depths=[1, 2], resolutions=[16], num_classes=2)
    card = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]} | ({"classes": classes} if classes else {})
    torch.manual_seed(0)
    save_supernet(tmp_path / "earlier", Supernet(space), card)
    request = TrainRequest(
        init=str(tmp_path / "earlier"),
        accelerator="cpu",
        data=DataSettings("folder", str(tmp_path / "photos"), resolution=16),
    )
    before = initial_supernet(str(tmp_path / "earlier"), space).classifier().weight
    begun: list[Supernet] = []
    told: list[str] = []
    devices: list[str] = []

    def fit(*given: Any, device: str, **more: Any) -> bool:
        devices.append(device)
        return fit_classifier(*given, device=device, **more)

    monkeypatch.setattr("nas.pipeline.train.fit_classifier", fit)
    monkeypatch.setattr("nas.pipeline.train.train", lambda supernet, *_, **__: begun.append(supernet) or TRAINED)
    train_supernet(request, tmp_path / "new", Listener(told.append))
    kept = classes == ["a", "b"]
    assert torch.equal(begun[0].classifier().weight, before) == kept
    assert devices == ([] if kept else ["cpu"])
    said = "is for these classes and is kept" if kept else "a classifier for 2 classes was fitted"
    assert said in "\n".join(told)


def test_weights_that_are_not_installed_are_refused_first_unless_the_supernet_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(card: Pretrained) -> Path:
        raise MissingExtra("the weights", card.extra)

    monkeypatch.setattr(Pretrained, "path", missing)
    request = SearchRequest(init="efficientnet_lite0", runs=str(tmp_path))
    for asked in (request, TrainRequest(init="efficientnet_lite0")):
        with pytest.raises(MissingExtra):
            check_request(asked)
    request.training_folder.mkdir(parents=True)
    (request.training_folder / CARD).touch()
    check_request(request)


def test_a_run_that_does_not_say_how_its_images_were_normalised_is_refused(tmp_path: Path) -> None:
    space = get_space("mobilenet_v3_small_images", width_mult=0.5, depths=[1], resolutions=[16])
    save_supernet(tmp_path, Supernet(space), {"mean": [0.1, 0.2, 0.3]})
    request = TrainRequest(init=str(tmp_path))
    with pytest.raises(ValueError, match=r"card.std is missing, .* give both: data.mean"):
        check_request(request)
    check_request(replace(request, data=DataSettings(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))))


@pytest.mark.parametrize("typed", ["no/such/folder", "efficientnet_lite7"])
def test_what_names_no_weights_is_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="names no trained weights"):
        initial_digest(typed)


def test_a_file_without_a_width_in_its_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ValueError, match="is not named like once-for-all's"):
        initial_space(str(tmp_path / "weights.pth"), {})


def test_once_for_alls_file_with_own_classes(tmp_path: Path) -> None:
    networks = pytest.importorskip(
        "ofa.imagenet_classification.elastic_nn.networks", reason="needs the ofa package: pip install --no-deps ofa"
    )
    theirs = networks.OFAMobileNetV3(
        n_classes=20,
        dropout_rate=0,
        width_mult=1.0,
        ks_list=[3, 5, 7],
        expand_ratio_list=[3, 4, 6],
        depth_list=[2, 3, 4],
    )
    path = tmp_path / "ofa_mbv3_d234_e346_k357_w1.0"
    torch.save({"state_dict": theirs.state_dict()}, path)
    request = TrainRequest(init=str(path))
    space = space_to_train(request, 5)
    assert (space.name, space.num_classes) == ("mobilenet_v3", 5)
    supernet = supernet_to_train(request, space)
    assert supernet.kernel_transform
    name = "slots.stem.conv.conv.weight"
    torch.testing.assert_close(supernet.state_dict()[name], theirs.state_dict()["first_conv.conv.weight"])


def test_once_for_alls_resnet_is_known_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "ofa_resnet50_d0-1-2_e0.2-0.25-0.35_w0.65-0.8-1.0"
    path.touch()
    assert initial_space(str(path), {"resolutions": [160]}) == {"name": "resnet50", "resolutions": [160]}
    with pytest.raises(ValueError, match="is damaged"):
        initial_supernet(str(path), get_space("resnet50"))
    networks = pytest.importorskip(
        "ofa.imagenet_classification.elastic_nn.networks", reason="needs the ofa package: pip install --no-deps ofa"
    )
    with torch.device("meta"):  # drawing all its weights would take seconds
        theirs = networks.OFAResNets(
            n_classes=20, depth_list=[0, 1, 2], expand_ratio_list=[0.2, 0.25, 0.35], width_mult_list=[0.65, 0.8, 1.0]
        )
    weights = {key: torch.zeros(tensor.shape) for key, tensor in theirs.state_dict().items()}
    for key in weights:
        if key.startswith("input_stem") and key.endswith("conv.weight"):
            weights[key].normal_()
    stem = weights["input_stem.0.conv.conv.weight"]
    torch.save({"state_dict": weights}, path)
    supernet = initial_supernet(str(path), get_space("resnet50", num_classes=5))
    assert torch.equal(supernet.state_dict()["slots.stem.conv1.conv.weight"], stem)


@pytest.mark.skipif(not pretrained("efficientnet_lite0").installed, reason="needs the extra pretrained")
def test_the_trained_network_by_name() -> None:
    options = initial_space("efficientnet_lite0", {"resolutions": [64, 96]})
    space = get_space(**options, num_classes=4)
    supernet = initial_supernet("efficientnet_lite0", space).eval()
    assert supernet(torch.zeros(1, 3, 96, 96)).shape == (1, 4)
    assert initial_normalisation("efficientnet_lite0")[0] == (0.5, 0.5, 0.5)
    assert np.array_equal(supernet.active, space.max)
    importance = supernet.slots["stage2_block1"]["project"].conv.weight.detach().abs().sum((0, 2, 3))
    assert (importance.diff() <= 1e-5).all()  # a network that was trained alone begins with its important channels
