"""What a search has found is not lost where its network cannot be trained alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.errors import TooShort
from nas.pipeline import finetune as module
from nas.pipeline.finetune import finetune_chosen
from nas.pipeline.request import SearchRequest
from nas.progress import Listener
from nas.training import TrainingDiverged


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


def test_images_without_labels_train_nothing(tmp_path: Path) -> None:
    trained: Any = SimpleNamespace(data=SimpleNamespace(labelled=False, name="cifar10"))
    subnet: Any = object()
    request = SearchRequest(finetune_time="1s")
    kept, record, sentence = finetune_chosen(request, trained, subnet, tmp_path, Listener())
    assert (kept, record) == (subnet, None)
    assert "no labels; to name them, type --supernet cifar10 --data PATH" in sentence
