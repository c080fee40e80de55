"""A search that is made up, with names that are to be escaped, for the tests of reports."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nas.search.evolution.settings import EvolutionSettings
from nas.search.run import SearchSettings
from search_spaces import Population, get_space
from tests.nas.from_macs import FromMacs

SPACE = get_space("mobilenet_v3_small_images", depths=(1, 2))
QUICK = SearchSettings(EvolutionSettings(600), EvolutionSettings(600), finalists=4)
HOSTILE = '<script>alert("pwned")</script>&\'"'
HOSTILE_FILE = HOSTILE.replace("/", "") + ".onnx"  # a file cannot have a slash in its name

CLASSES = {
    "images": 400,
    "accuracy": 0.85,
    "accuracy_error": 0.018,
    "balanced_accuracy": 0.75,
    "balanced_accuracy_error": 0.03,
    "images_per_class": [300, 100],
    "recall": [0.95, 0.55],
    "recall_error": [0.0126, 0.0495],
    "most_confused": [{"true": 1, "predicted": 0, "images": 45}, {"true": 0, "predicted": 1, "images": 15}],
    "confusion_matrix": [[285, 15], [45, 55]],
}


def from_macs(low: float, high: float) -> FromMacs:
    """From `low` at one million MACs to `high` at ten."""
    per_million = (high - low) / 9
    return FromMacs(SPACE, per_million, low - per_million, std=0.02 * (high - low))


def measure(population: Population) -> tuple[Any, ...]:
    latency = from_macs(1, 5).predict(population) * 1.01
    return latency, latency * 0.98, latency * 1.05


def evaluate(population: Population) -> Any:
    return from_macs(0.7, 0.95).predict(population) - 0.01


def damaged(folder: Path, to: Path, change: Any) -> Path:
    """A copy of a run folder whose ``result.json`` is changed by `change`."""
    shutil.copytree(folder, to)
    record = json.loads((to / "result.json").read_text())
    change(record)
    (to / "result.json").write_text(json.dumps(record))
    return to


@contextmanager
def fast_figures() -> Iterator[None]:
    """Figures are made, as objects, but not written as PNG, which takes a second each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.report.sections.png", lambda figure: b"")
        yield
