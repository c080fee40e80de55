"""What is said of exported files is said where it is true and only there."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pictures import photos
from tiny_run import tiny_data

from nas.data import DataSettings, ImageData
from nas.pipeline.remarks import data_remarks, file_remarks
from nas.pipeline.request import SearchRequest, TrainRequest
from nas.pipeline.search import get_supernet
from nas.pipeline.train import train_supernet
from nas.progress import Listener
from nas.supernet import Supernet, save_supernet
from nas.training import Recipe, TrainingResult


def export(precision: str, ms: float | None, **others: Any) -> dict[str, Any]:
    made = {"file": f"{precision}.onnx", "format": "onnx", "precision": precision, "batch": 1, "accuracy": 0.9}
    made |= {"accepted": True} | others
    if ms is not None:
        made["latency"] = {"latency_ms": ms, "device": "cpu", "runtime": "onnxruntime", "threads": 1}
    return made


def test_int8_that_is_not_faster_is_said() -> None:
    (said,) = file_remarks([export("float32", 1.0), export("int8", 1.3)], ())
    assert said == ("Int8 is not faster here: int8.onnx takes 1.3 ms, float32.onnx 1 ms in onnxruntime on cpu.")
    assert file_remarks([export("float32", 1.3), export("int8", 1.0)], ()) == []
    assert file_remarks([export("float32", None), export("int8", 1.0)], ()) == []
    assert file_remarks([export("float32", 1.0, batch=8), export("int8", 9.0)], ())[0].startswith("The budget")


def test_the_unknown_cost_of_int8_is_said() -> None:
    unknown = [export("float32", None), export("int8", None)]
    for each in unknown:
        del each["accuracy"]
    (said,) = file_remarks(unknown, ())
    assert said == (
        "What int8 costs in accuracy is not known of int8.onnx, for lack of labelled images: the accuracy that is "
        "shown is that in float32."
    )
    assert file_remarks(unknown[:1], ()) == []


def test_a_rejected_file_is_said() -> None:
    (said,) = file_remarks([export("float32", None), export("int8", None, accepted=False)], ())
    assert said == "int8.onnx lost more accuracy to int8 than is allowed, and is rejected."


def test_images_that_were_trained_on_before_are_said() -> None:
    trained: Any = SimpleNamespace(data=tiny_data(), card={}, evaluated=SimpleNamespace(objective="accuracy"))
    assert not any("trained on" in said for said in data_remarks(trained))
    trained.card = {"trained_before": {"validation": 3, "test": 0}}
    assert any("3 of the 40 search-validation images and 0 of the 40 test images" in s for s in data_remarks(trained))


@pytest.mark.parametrize("typed", [[], ["objective"], ["objective", "recipe"]])
def test_unequal_classes_are_said_once_and_where_the_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str]
) -> None:
    root = photos(tmp_path / "photos", ["rare"], n=4)
    photos(root, ["other", "usual"], n=30)
    shutil.rmtree(root / "other")
    objective = "balanced_accuracy" if "objective" in typed else "accuracy"
    recipe = Recipe(balance_classes="recipe" in typed)
    settings = {"data": DataSettings("folder", str(root), resolution=16), "recipe": recipe, "runs": str(tmp_path)}
    request = SearchRequest(objective=objective, **settings)
    said: list[str] = []

    def no_training(
        supernet: Supernet, images: ImageData, *_: object, about: dict[str, Any], **more: object
    ) -> TrainingResult:
        said.append("training")
        card = {"recipe": recipe.as_dict(), "data": {"fingerprint": images.fingerprint}}
        save_supernet(request.training_folder, supernet, about | card)
        return TrainingResult(request.training_folder, 1, 1, 1.0, {})

    monkeypatch.setattr("nas.pipeline.train.train", no_training)
    trained = get_supernet(request, Listener(say=said.append))
    (sentence,) = [each for each in said if "far from equal" in each]
    assert said.index(sentence) < said.index("training")
    assert trained.about_classes() == [sentence]
    assert sentence not in data_remarks(trained)
    assert ("objective=" in sentence, "recipe." in sentence) == ("objective" not in typed, "recipe" not in typed)
    said.clear()
    get_supernet(request, Listener(say=said.append))  # which has been trained
    assert [each for each in said if "far from equal" in each] == [sentence]
    said.clear()
    train_supernet(TrainRequest(**settings), tmp_path / "alone", Listener(say=said.append))
    assert len([each for each in said if "far from equal" in each]) == 1


def test_several_images_at_once_are_not_what_the_budget_was_checked_for() -> None:
    (said,) = file_remarks([export("float32", 4.87, batch=8)], ())
    assert said == (
        "The budget was checked for one image at a time; float32.onnx takes 8 images at once, which takes 4.87 ms."
    )
    assert file_remarks([export("float32", 4.87, batch=None)], ()) == []


def test_every_file_of_another_batch_is_named() -> None:
    (said,) = file_remarks([export("float32", 1.0), export("int8", None, batch=8)], ())
    assert said == "The budget was checked for one image at a time; int8.onnx takes 8 images at once."
    (said,) = file_remarks([export("float32", None), export("int8", None, batch=8)], (), 8)
    assert said == "The budget was checked for 8 images at a time; float32.onnx takes one image at once."
