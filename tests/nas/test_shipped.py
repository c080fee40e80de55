"""A supernet that comes without its images: found by name, searched at once, and honest about what is not known."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import nas.shipped
from nas.data import DataSettings, load_data, read_calibration_images, write_calibration_images
from nas.data.cifar10 import CLASSES
from nas.evaluation.cache import EvaluatedSubnets
from nas.evaluation.trained import TrainedSupernet
from nas.export.checked import export_checked, sentence
from nas.export.network_file import FileKind
from nas.pipeline.finetune import specialise
from nas.pipeline.request import Limits, SearchRequest
from nas.pipeline.search import search
from nas.search.active_learning import learn_from
from nas.shipped import CALIBRATION_IMAGES_FILE, DEFAULT, find_supernet, shipped_supernets
from nas.supernet import Supernet, save_supernet
from nas.training.finetune import Finetuning
from search_spaces import get_space

DIGITS = {"name": "digits", "resolution": 16}
SPACE = get_space("mobilenet_v3_small_images", depths=[1, 2], width_mult=0.5, resolutions=[16])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder as shipped ones are: random weights, stand-in images of noise, accuracies of a dozen subnets."""
    folder = tmp_path_factory.mktemp("shipped") / "tiny"
    torch.manual_seed(0)
    supernet, data = Supernet(SPACE), load_data(DataSettings(**DIGITS))
    population = np.concatenate([np.stack([SPACE.min, SPACE.max]), SPACE.sample(10, np.random.default_rng(0))])
    card = {
        "data_settings": DIGITS,
        "data": {"name": "tiny", "fingerprint": data.fingerprint, "resolution": 16},
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "subnets": [
            {"macs": int(macs), "test_accuracy": accuracy}
            for macs, accuracy in zip(SPACE.costs(population[:3]).macs, (0.611, 0.833, 0.722), strict=True)
        ],
    }
    save_supernet(folder, supernet, card)
    write_calibration_images(
        folder / CALIBRATION_IMAGES_FILE, torch.randint(0, 256, (256, 3, 16, 16), dtype=torch.uint8)
    )
    few = data.validation.take(np.arange(100))
    EvaluatedSubnets(supernet, replace(data, validation=few), folder)(population)
    return folder


def test_images_cannot_be_normalised_otherwise_than_in_the_training(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.mean and data\.std belong to a training"):
        TrainedSupernet.open(folder, {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]})
    card = TrainedSupernet.open(folder).card
    own = {"mean": card["mean"], "std": card["std"]}
    assert TrainedSupernet.open(folder, own).data.mean == tuple(card["mean"])


@pytest.fixture
def tiny(folder, monkeypatch) -> str:
    monkeypatch.setattr(nas.shipped, "FOLDER", folder.parent)
    return folder.name


@pytest.fixture(scope="module")
def found(folder, tmp_path_factory):
    """The result of a search in it for a phone that is not attached, and the run folder."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nas.shipped, "FOLDER", folder.parent)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        request = SearchRequest(
            budget=Limits(latency="80%"),
            device="pixel",
            supernet="tiny",
            runs=str(home),
            candidates=500,
            format="onnx",
        )
        result = search(request, home / "found")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return result, home / "found"


def test_a_name_stands_for_a_shipped_supernet(tiny, tmp_path):
    assert shipped_supernets() == ["tiny"]
    assert find_supernet("tiny") == nas.shipped.FOLDER / "tiny"
    assert find_supernet(nas.shipped.FOLDER / "tiny") == nas.shipped.FOLDER / "tiny"
    with pytest.raises(ValueError, match="tinny is no trained supernet; .* shipped one: tiny"):
        find_supernet("tinny")


def test_a_sheet_gives_back_its_images(tmp_path):
    images = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    write_calibration_images(tmp_path / "sheet.png", images)
    assert torch.equal(read_calibration_images(tmp_path / "sheet.png", 8), images)
    with pytest.raises(ValueError, match="square number"):
        write_calibration_images(tmp_path / "sheet.png", images[:8])
    with pytest.raises(ValueError, match="does not hold images of 7 x 7 pixels: it has 24 x 24"):
        read_calibration_images(tmp_path / "sheet.png", 7)
    (tmp_path / "sheet.png").write_bytes((tmp_path / "sheet.png").read_bytes()[:99])
    with pytest.raises(ValueError, match="damaged"):
        read_calibration_images(tmp_path / "sheet.png", 8)


def test_a_search_needs_no_images_and_claims_no_accuracy_it_cannot_know(found, folder):
    result, run = found
    record = json.loads((run / "result.json").read_text())
    assert record["status"] == "predicted"
    assert record["supernet"] == "tiny"
    assert "test_accuracy" not in record
    assert record["exports"][0]["parity"]["n"] == 256
    assert "accuracy" not in record["exports"][0]
    assert "each of 12 subnets predicted from the others" in record["predictors"]["accuracy"]
    table = pd.read_csv(folder / "accuracy.csv", index_col=0).iloc[:, 0]
    assert record["measured"]["accuracy"] == table.get(result.architecture)
    finalists = pd.read_csv(run / "finalists.csv").set_index("architecture")
    assert finalists["measured_accuracy"].isna().all()
    assert finalists["predicted_accuracy"].idxmax() == result.architecture


def test_the_report_says_what_the_card_knows_of_such_networks(found):
    _, run = found
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "256 synthesised images" in page
    assert "The test split was not used." in page
    assert "networks of its size reach" in page
    assert "not known" in page


def test_no_accuracy_is_evaluated_without_labels(tiny):
    trained = TrainedSupernet.open(tiny)
    unknown = SPACE.sample(1, np.random.default_rng(5))
    accuracy = trained.evaluated(np.concatenate([SPACE.max[None], unknown]))
    assert np.isfinite(accuracy).tolist() == [True, False]
    assert trained.data.fingerprint == load_data(DataSettings(**DIGITS)).fingerprint
    assert len(trained.data.validation) == len(trained.data.test) == 0


def test_int8_is_compared_and_not_judged(tiny, tmp_path):
    trained = TrainedSupernet.open(tiny)
    subnet = trained.subnet(SPACE.min)
    record = export_checked(subnet, trained.data, tmp_path / "subnet.int8.onnx", FileKind("onnx", "int8"))
    assert record["accepted"]
    assert record["parity"]["n"] == 256
    assert not {"accuracy", "accuracy_drop", "test_accuracy"} & record.keys()
    assert "of 256 synthesised images" in sentence(record)
    assert "not known" in sentence(record)


def test_what_needs_labels_is_refused(found, tiny, tmp_path):
    _, run = found
    with pytest.raises(ValueError, match="fine-tuning needs the images .* --supernet tiny --data PATH"):
        specialise(run, tmp_path, Finetuning(epochs=1))
    assert not list(tmp_path.iterdir())


def test_with_its_images_a_shipped_supernet_is_evaluated_for_real(tiny, tmp_path):
    shipped = nas.shipped.FOLDER / tiny
    before = (shipped / "accuracy.csv").read_bytes()
    trained = TrainedSupernet.open(tiny, {"name": "digits"}, notes=tmp_path)
    assert trained.data.labelled
    assert np.isfinite(trained.evaluated(SPACE.sample(1, np.random.default_rng(5)))).all()
    assert len((tmp_path / "accuracy.csv").read_text().splitlines()) == 2
    assert (shipped / "accuracy.csv").read_bytes() == before
    with pytest.raises(ValueError, match="the images are not the ones that tiny was trained on"):
        TrainedSupernet.open(tiny, {"name": "digits", "seed": 1}, notes=tmp_path)


def test_what_is_shipped_is_whole_and_small():
    assert shipped_supernets() == [DEFAULT]
    folder = find_supernet(DEFAULT)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10e6
    assert "Apache-2.0" in (folder / "CARD.md").read_text(encoding="utf-8")
    trained = TrainedSupernet.open(DEFAULT)
    assert "root" not in trained.card["data_settings"]
    assert trained.data.classes == CLASSES
    known = trained.evaluated.known
    assert len(known) >= 300
    accuracy = dict(zip(trained.space.format(known), trained.evaluated(known), strict=True))
    for subnet in trained.card["subnets"]:
        assert accuracy[subnet["architecture"]] == pytest.approx(subnet["validation_accuracy"], abs=1e-6)
        # Chosen by validation, tested afterwards: close, or the table is of other weights.
        assert subnet["test_accuracy"] == pytest.approx(subnet["validation_accuracy"], abs=0.03)
    predictor = learn_from(trained.space, known, trained.evaluated(known)).predictor
    assert predictor.n_observations_ == len(known)
    assert predictor.rmse_ < 0.01


def test_a_fresh_clone_answers_without_training(tmp_path):
    nas_script = Path(sys.executable).with_name("nas")
    words = ["search", "--device", "pixel", "--latency", "2ms", "--format", "onnx", "--json"]
    done = subprocess.run([nas_script, *words], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["supernet"] == DEFAULT
    assert record["predicted"]["latency_ms"] <= 2
    assert "training" not in done.stderr
    assert Path(record["folder"]).name.endswith("_cifar10")
    assert not (tmp_path / "runs" / "train").exists()
