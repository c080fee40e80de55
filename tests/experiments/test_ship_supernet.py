"""What makes a shipped supernet, in small: synthesised images that do their work, and a folder that can be searched."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import nas.shipped
from experiments.ship_supernet.__main__ import rounded_to_half, ship
from experiments.ship_supernet.efficientnet import read_photographs
from experiments.ship_supernet.evaluate import Table, along_front
from experiments.ship_supernet.synthesise import Synthesis, distance, real_statistics, smooth, statistics, synthesise
from nas.data import DataSettings, load_data, prepare
from nas.evaluation.accuracy import calibration_batches
from nas.evaluation.trained import TrainedSupernet
from nas.shipped.pretrained import pretrained
from nas.supernet import Supernet, save_supernet
from search_spaces import get_space

DIGITS = {"name": "digits", "resolution": 16}
SPACE = get_space("mobilenet_v3_small_images", depths=[1], width_mult=0.5, resolutions=[16])


@pytest.fixture(scope="module")
def data():
    return load_data(DataSettings(**DIGITS))


@pytest.fixture
def supernet():
    torch.manual_seed(0)
    return Supernet(SPACE)


def test_synthesised_images_cause_the_statistics_of_real_ones_in_a_subnet_they_have_not_seen(supernet, data):
    settings = Synthesis(images=128, subnets=3, real_images=128, steps=60, learning_rate=0.1)
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    images = synthesise(supernet, data, settings)
    assert images.shape == (128, 3, 16, 16)
    assert images.dtype == torch.uint8
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())
    (target,) = real_statistics(supernet, SPACE.sample(1, np.random.default_rng(99)), data, 128)
    noise = torch.tensor(data.mean).view(1, 3, 1, 1) + smooth(torch.randn(128, 3, 16, 16)) * torch.tensor(
        data.std
    ).view(1, 3, 1, 1)
    with torch.no_grad():
        far, near = (
            float(distance(statistics(supernet, prepare(pixels, 16, data.mean, data.std)), target))
            for pixels in ((noise.clamp(0, 1) * 255).to(torch.uint8), images)
        )
    assert near < far / 2, (near, far)


def test_statistics_are_those_that_calibration_finds(supernet, data):
    (batch,) = calibration_batches(data, 16, n_images=128)
    with torch.no_grad():
        mean, variance = statistics(supernet, batch)[0]
        response = supernet.slots["stem"]["conv"][0](batch)
    torch.testing.assert_close(mean, response.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(variance, response.var(dim=(0, 2, 3), unbiased=False))


def test_the_front_is_taken_first_and_evenly():
    cost = np.arange(10.0)
    objectives = np.stack([-cost, cost], axis=1)  # all on one front
    rows = np.arange(10)[:, None]
    assert along_front(rows, objectives, 3).ravel().tolist() == [0, 4, 9]
    worse = np.concatenate([objectives, objectives + 0.5])
    assert along_front(np.arange(20)[:, None], worse, 12).ravel().tolist() == [*range(10), 10, 19]


def test_synthesised_images_of_another_side_are_read_resized():
    space = get_space("mobilenet_v3_small_images", depths=[1], width_mult=0.5, resolutions=[12, 16])
    images = synthesise(
        Supernet(space), load_data(DataSettings(**DIGITS)), Synthesis(images=64, side=8, subnets=3, steps=2)
    )
    assert images.shape == (64, 3, 8, 8)


def test_large_images_count_for_statistics_and_small_ones_for_training(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.ship_supernet.efficientnet.SIDE", 32)
    for number in range(1000):
        for split, side in (("train", 8 + 200 * (number % 2)), ("val", 8), ("test", 8)):
            if split == "train" or number < 3:
                folder = tmp_path / split / f"n{number:05d}"
                folder.mkdir(parents=True)
                Image.new("RGB", (side, side + 3), (number % 250, 0, 0)).save(folder / "a.png")
    data, of_photographs = read_photographs(tmp_path, pretrained("efficientnet_lite0"))
    assert data.classes[:2] == ("tench", "goldfish")
    assert data.train.labels.tolist() == list(range(1000))
    assert data.validation.labels.tolist() == [0, 1, 2]
    assert data.train.images.shape == (1000, 3, 32, 32)
    assert of_photographs.train.labels.tolist() == list(range(1, 1000, 2))
    shutil.rmtree(tmp_path / "train" / "n00000")
    with pytest.raises(ValueError, match="a folder for each of 1000 classes, got 999"):
        read_photographs(tmp_path, pretrained("efficientnet_lite0"))


def test_weights_too_large_for_float16_are_not_rounded_to_infinity(supernet):
    with torch.no_grad():
        next(supernet.parameters()).mul_(1e6).add_(1e6)
    with pytest.raises(OverflowError, match="does not fit into float16"):
        rounded_to_half(supernet)


@pytest.mark.parametrize("half", [False, True])
def test_a_run_becomes_a_folder_that_is_searched_by_name(half, supernet, data, tmp_path, monkeypatch):
    run, out = tmp_path / "run", tmp_path / "shipped" / "tiny"
    card = {
        "data_settings": DIGITS | {"root": "/home/somebody"},
        "data": {"name": "digits", "fingerprint": data.fingerprint, "resolution": 16},
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "recipe": {"name": "none", "paper": "", "epochs": 0, "batch_size": 1, "learning_rate": 0, "phases": []},
        "steps": 0,
        "seconds": 0.0,
    }
    save_supernet(run, supernet, card)
    said: list[str] = []
    small = {
        "synthesis": Synthesis(steps=1, subnets=2, real_images=128, side=12 if half else None),
        "table": Table(spread=6, rounds=2, each=3, candidates=200),
        "n_compared": 2,
        "n_tested": 2,
    }
    original = {"title": "A network", "validation": 0.7, "test": 0.8, "published": 0.75}
    small |= {"half": half, "facts": {"original": original}}
    ship(run, tmp_path, out, source="digits", say=said.append, **small)
    assert "/home/somebody" not in (out / "supernet.json").read_text()
    assert "| max |" in (out / "CARD.md").read_text()
    assert {path.name for path in out.iterdir()} == {
        "CARD.md", "accuracy.csv", "calibration.png", "supernet.json", "supernet.safetensors"
    }  # fmt: skip
    monkeypatch.setattr(nas.shipped, "FOLDER", out.parent)
    trained = TrainedSupernet.open("tiny")
    assert len(trained.evaluated.known) >= 12
    assert trained.remarks(SPACE.max)[1].count("%") == 2
    assert "A network: it reaches 70.0% on the same search-validation" in trained.remarks(SPACE.max)[2]
    assert trained.data.resolution == (12 if half else 16)
    shipped = json.loads((out / "supernet.json").read_text())["card"]
    assert {subnet["role"] for subnet in shipped["subnets"]} >= {"min", "middle", "max"}
    # Again: nothing is synthesised or evaluated anew, and the search's table is the same.
    table, sheet = ((out / name).read_bytes() for name in ("accuracy.csv", "calibration.png"))
    said.clear()
    ship(run, tmp_path, out, source="digits", say=said.append, **small)
    assert not any(line.startswith(("step", "round")) for line in said)
    assert [(out / name).read_bytes() for name in ("accuracy.csv", "calibration.png")] == [table, sheet]
