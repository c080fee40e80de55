"""The given network as it came: whether its classifier is kept, whether it teaches, and whether it stays the answer."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nas.data import ImageData, load_data, prepare
from nas.data.settings import DataSettings
from nas.evaluation.confusion import standard_error
from nas.evaluation.trained import GIVEN, TrainedSupernet
from nas.pipeline import baselines
from nas.pipeline.given import space_to_train, supernet_to_train
from nas.pipeline.initial import IMAGENET_MEAN, IMAGENET_STD
from nas.pipeline.original import Original, knows, original_network
from nas.pipeline.request import Limits, SearchRequest, TrainRequest
from nas.pipeline.search import search
from nas.pipeline.train import train_supernet
from nas.progress import SILENT, Listener
from nas.supernet import subnet_metadata
from nas.training.checkpoint import digest
from nas.training.recipes import load_recipe
from tests.nas.tracing.user_networks import Convolutional, Small

DIGITS = DataSettings(name="digits", resolution=32)
RECIPE = replace(load_recipe("adapt"), epochs=0.1)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return replace(load_data(DIGITS), mean=IMAGENET_MEAN, std=IMAGENET_STD)


@pytest.fixture(scope="module")
def weights(digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a network that knows the digits."""
    torch.manual_seed(0)
    net = Small(10)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(6):
        for images, labels in digits.train.batches(64):
            optimizer.zero_grad()
            logits = net(prepare(images, 32, digits.mean, digits.std))
            nn.functional.cross_entropy(logits, labels).backward()
            optimizer.step()
    path = tmp_path_factory.mktemp("weights") / "digits.pth"
    torch.save(net.state_dict(), path)
    return path


def request(weights: Path, model: str = "ten_classes") -> TrainRequest:
    return TrainRequest(
        model=f"tests.nas.tracing.user_networks:{model}", weights=str(weights), data=DIGITS, recipe=RECIPE, threads=1
    )


def test_its_own_classifier_is_kept_and_teaches(weights: Path, digits: ImageData, tmp_path: Path) -> None:
    told: list[str] = []
    train_supernet(request(weights), tmp_path, Listener(told.append))
    assert any("which is kept; it teaches the max net" in said for said in told)
    assert re.fullmatch(r"trained in [\d.]+ (s|min).*", told[-1])
    facts = subnet_metadata(tmp_path / GIVEN)
    assert facts["own_classifier"]
    assert facts["accuracy"] > 0.5
    # Killed and begun again, it is the same teacher: the checkpoint is told by its weights.
    trained = TrainedSupernet.open(tmp_path)
    again = original_network(request(weights), trained.supernet, digits, tmp_path, SILENT)
    assert again is not None
    given = Small(10)
    given.load_state_dict(torch.load(weights, weights_only=True))
    images = prepare(next(iter(digits.validation.batches(8)))[0], 32, digits.mean, digits.std)
    with torch.no_grad():
        torch.testing.assert_close(again.subnet(images), given.eval()(images), rtol=1e-4, atol=1e-4)


def test_a_killed_training_goes_on_with_the_same_teacher(
    weights: Path, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = []

    def stop(network: object, data: object, recipe: object, folder: Path, **more: object) -> None:
        assert isinstance(more["teacher"], nn.Module)
        teachers.append(digest(more["teacher"].state_dict().values()))
        (folder / "checkpoint.safetensors").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.pipeline.train.train", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train_supernet(request(weights), tmp_path)
    assert teachers[0] == teachers[1]


def test_other_classes_get_a_new_classifier_and_no_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for classes, model in ((10, "ten_classes"), (4, "small")):
        torch.save(Small(classes).state_dict(), tmp_path / "w.pth")
        told: list[str] = []
        folder = tmp_path / model
        train_supernet(request(tmp_path / "w.pth", model), folder, Listener(told.append))
        assert any("it does not teach: labels do" in said for said in told)
        assert any("its classes are others" in said for said in told) == (classes == 10)
        assert not subnet_metadata(folder / GIVEN)["own_classifier"]


def told_of(asked: TrainRequest, digits: ImageData, folder: Path) -> str:
    """What is said of the given network before training."""
    told: list[str] = []
    supernet = supernet_to_train(asked, space_to_train(asked, 10))
    few = replace(digits, train=digits.train.take(np.arange(200)))
    original_network(asked, supernet, few, folder, Listener(told.append))
    return "\n".join(told)


@pytest.mark.parametrize(("model", "fitted"), [("convolutional", True), ("rectified", False)])
def test_that_no_classifier_could_be_fitted_is_said(
    model: str, fitted: bool, digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []
    monkeypatch.setattr("nas.training.classifier.accelerator", lambda name: devices.append(name) or "cpu")
    torch.save(Convolutional().state_dict(), tmp_path / "w.pth")
    told = told_of(request(tmp_path / "w.pth", model), digits, tmp_path)
    assert ("a classifier for 10 classes was fitted" in told) == fitted
    assert ("no classifier could be fitted" in told) != fitted
    assert devices == (["auto"] if fitted else [])


def test_what_nothing_says_of_a_network_is_said_to_be_assumed(digits: ImageData, tmp_path: Path) -> None:
    asked = TrainRequest(model="tests.nas.tracing.user_networks:small", data=DIGITS, recipe=RECIPE, threads=1)
    assert "comes without --weights, so its weights are taken for random ones" in told_of(asked, digits, tmp_path)
    torch.save(Small().state_dict(), tmp_path / "w.pth")
    given = replace(asked, weights=str(tmp_path / "w.pth"))
    assert "normalised by ImageNet's mean" in told_of(given, digits, tmp_path)
    own = replace(given, data=replace(DIGITS, mean=(0.5,) * 3, std=(0.5,) * 3))
    assert "normalised by" not in told_of(own, digits, tmp_path)


def test_where_it_is_better_it_takes_the_max_nets_place(weights: Path, tmp_path: Path) -> None:
    train_supernet(request(weights), tmp_path)
    first = TrainedSupernet.open(tmp_path)
    given = original_network(request(weights), first.supernet, first.data, tmp_path, SILENT)
    assert isinstance(given, Original)
    replace(given, accuracy=0.0).keep(tmp_path)
    (tmp_path / "accuracy.csv").unlink(missing_ok=True)
    assert TrainedSupernet.open(tmp_path).given is None
    replace(given, accuracy=1.0).keep(tmp_path)  # as before training, which may have been killed right after it
    trained = TrainedSupernet.open(tmp_path)
    largest = trained.space.max
    assert trained.evaluated(largest[None])[0] == pytest.approx(given.accuracy, abs=1e-6)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(trained.subnet(largest)(images), given.subnet(images))
        assert not torch.equal(first.subnet(largest)(images), given.subnet(images))


def test_the_given_network_is_always_among_the_finalists(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is measured beside the others, and what it came to is said."""
    monkeypatch.setattr(baselines, "fit_classifier", lambda *_, **__: pytest.fail("its own is for these classes"))
    monkeypatch.setattr(baselines, "SHARE", 2.0)  # half of so short a training can be too short on a busy machine
    asked = SearchRequest(
        model="tests.nas.tracing.user_networks:ten_classes",
        weights=str(weights),
        data=DIGITS,
        recipe=RECIPE,
        budget=Limits(macs="60%"),
        evaluations=5,
        samples=5,
        finalists=2,
        rounds=1,
        runs=str(tmp_path / "runs"),
        threads=1,
    )
    result = search(asked, tmp_path / "run")
    trained = TrainedSupernet.open(asked.training_folder)
    row = result.finalists.set_index("architecture").loc[trained.space.format(trained.space.max)]
    assert row["measured_latency_ms"] > 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    (said,) = [note for note in record["notes"] if note.startswith("The given network")]
    assert f"{row['measured_accuracy']:.1%} on search-validation" in said
    assert f"{row['measured_latency_ms']:.3g} ms" in said
    assert result.architecture != row.name
    # At fewer pixels it keeps the budget, which is what one would do otherwise.
    (plain,) = record["baselines"]["networks"]
    assert (plain["name"], plain["keeps_budget"]) == ("given network", True)
    assert plain["resolution"] < 32
    assert plain["macs"] <= 0.6 * row["macs"]
    assert "given network at" in record["baselines"]["verdict"]
    # Without a limit nothing speaks against it but its accuracy.
    free = search(replace(asked, budget=Limits(macs="100%")), tmp_path / "free")
    best = free.finalists.sort_values("measured_accuracy", kind="stable").iloc[-1]
    assert free.measured["accuracy"] == best["measured_accuracy"] >= row["measured_accuracy"]


def test_the_chosen_network_is_trained_alone_and_exported_as_it_is_kept(weights: Path, tmp_path: Path) -> None:
    asked = SearchRequest(
        **{name: getattr(request(weights), name) for name in ("model", "weights", "data", "recipe", "threads")},
        budget=Limits(macs="60%"),
        device="pixel",
        evaluations=5,
        finalists=2,
        rounds=1,
        finetune_time="4s",
        runs=str(tmp_path / "runs"),
    )
    result = search(asked, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    tuning = record["finetuning"]
    before, after = tuning["before"]["validation"], tuning["after"]["validation"]
    assert before == pytest.approx(
        result.finalists.set_index("architecture").loc[result.architecture, "measured_accuracy"]
    )
    assert tuning["epochs"] > 0
    error = float(standard_error(before, record["images"]["search-validation"]))
    assert tuning["kept"] == ("after" if after >= before - error else "before")
    assert record["measured"]["accuracy"] == tuning[tuning["kept"]]["validation"]
    assert record["test_accuracy"] == tuning[tuning["kept"]]["test"]
    assert any(note.startswith("Trained alone for") for note in record["notes"])


def test_a_classifier_knows_classes_that_no_other_names_fit_better() -> None:
    good = np.full((4, 4), 10) + np.diag([70, 70, 70, 70])
    assert knows(good)
    assert not knows(good[:, [1, 2, 3, 0]])  # in another order
    assert not knows(good[:, [1, 0, 2, 3]])  # half of them
    assert not knows(np.full((4, 4), 10))
    # Four in five images are of one class: saying nothing else is no knowledge.
    assert not knows(np.array([[80, 0], [20, 0]]))
