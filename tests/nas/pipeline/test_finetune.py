"""What a search has found is not lost where its network cannot be trained alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.data.settings import DataSettings
from nas.errors import MissingExtra, TooShort
from nas.evaluation.trained import TrainedSupernet
from nas.pipeline import finetune as module
from nas.pipeline.check import check_search
from nas.pipeline.finetune import finetune_chosen, specialise
from nas.pipeline.request import SearchRequest
from nas.progress import Listener
from nas.shipped import CARD, find_supernet
from nas.training import Finetuning, TrainingDiverged


@pytest.mark.parametrize(
    "error", [TooShort("1 s is too short for this training"), TrainingDiverged("training diverged at step 3")]
)
def test_a_training_that_fails_leaves_the_network_as_it_was(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(module, "finetune", fail)
    monkeypatch.setattr(module, "teacher_of", lambda *_: None)
    trained: Any = SimpleNamespace(
        card={}, data=SimpleNamespace(labelled=True), evaluated=SimpleNamespace(folder=tmp_path, objective="accuracy")
    )
    said: list[str] = []
    subnet: Any = object()
    request = SearchRequest(finetune_time="1s")
    kept, record, sentence = finetune_chosen(request, trained, subnet, tmp_path, Listener(said.append))
    assert kept is subnet
    assert record is None
    assert sentence == said[-1] == f"The chosen network was not trained alone: {error}."


def test_an_extra_that_a_file_needs_is_asked_for_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports = [{"format": "onnx", "precision": "float32"}, {"format": "tflite", "precision": "float32"}]
    monkeypatch.setattr("nas.pipeline.finetune.search_record", lambda source: {"exports": exports})
    monkeypatch.setattr("nas.export.network_file.find_spec", lambda name: None)
    monkeypatch.setattr(TrainedSupernet, "of_search", lambda record: pytest.fail("images were read"))
    with pytest.raises(MissingExtra, match="tflite"):
        specialise(tmp_path / "search", tmp_path, Finetuning())


@pytest.mark.parametrize(
    ("asked", "instead"),
    [({"finetune_time": "1s"}, "--finetune-time none"), ({"objective": "balanced_accuracy"}, "objective=accuracy")],
)
def test_what_needs_labels_is_refused_before_the_search(asked: dict[str, str], instead: str) -> None:
    with pytest.raises(
        ValueError, match=f"needs labelled images, .* type --supernet cifar10 --data PATH, or {instead}"
    ):
        check_search(SearchRequest(supernet="cifar10", **asked))  # type: ignore[arg-type]


def test_a_supernet_that_names_no_recipe_is_refused_before_the_search(tmp_path: Path) -> None:
    card = json.loads((find_supernet("cifar10") / CARD).read_text())
    del card["card"]["recipe"]
    card["card"]["data_settings"] = {"name": "digits"}
    (tmp_path / CARD).write_text(json.dumps(card))
    check_search(SearchRequest(supernet=str(tmp_path)))
    with pytest.raises(ValueError, match="by which recipe it was trained, .* type --finetune-time none"):
        check_search(SearchRequest(supernet=str(tmp_path), finetune_time="1s"))


def test_a_share_of_a_training_of_unknown_length_is_refused_before_the_search(tmp_path: Path) -> None:
    card = json.loads((find_supernet("cifar10") / CARD).read_text())
    del card["card"]["seconds"]
    images = DataSettings()  # their own are not here
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(ValueError, match="how long it was trained, .* type --finetune-time 2min"):
        check_search(SearchRequest(supernet=str(tmp_path), finetune_time="60%", moved_data=images))
    for typed in ("0%", "2000%"):
        with pytest.raises(ValueError, match="above 0 and at most 1000%"):
            SearchRequest(finetune_time=typed)
