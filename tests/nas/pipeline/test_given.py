"""A training and a search that start from a given network."""

import json
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import pytest
import torch

from nas import tracing
from nas.cli.verbs.spaces import adopted_spaces
from nas.data.settings import DataSettings
from nas.pipeline.given import adopted, normalisation, space_to_train
from nas.pipeline.initial import IMAGENET_MEAN, IMAGENET_STD
from nas.pipeline.request import Limits, SearchRequest, TrainRequest, network_digest, weights_digest
from nas.pipeline.search import search
from nas.training.recipes import load_recipe
from search_spaces.settings import SpaceSettings
from tests.nas.tracing.user_networks import Small

MODEL = "tests.nas.tracing.user_networks:small"


def test_a_search_starts_from_a_given_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(Small(10).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match="2 have another shape"):
        adopted(TrainRequest(model=MODEL, weights=str(tmp_path / "w.pth")))
    torch.save(Small().state_dict(), tmp_path / "w.pth")
    request = SearchRequest(
        model=MODEL,
        weights=str(tmp_path / "w.pth"),
        data=DataSettings(name="digits", resolution=32),
        recipe=replace(load_recipe("delayed_sandwich"), epochs=0.1),
        budget=Limits(macs="70%"),
        evaluations=5,
        finalists=2,
        rounds=1,
        runs=str(tmp_path / "runs"),
    )
    result = search(request, tmp_path / "run")
    space = space_to_train(request, 10)
    assert space.parse(str(result.architecture)) is not None
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["space"]["name"] == space.name
    (listed,) = adopted_spaces(tmp_path / "runs")
    assert (listed.name, listed.num_classes, listed.genes) == (space.name, 10, space.genes)
    before = weights_digest(request.weights)
    torch.save(Small().state_dict(), tmp_path / "w.pth")
    assert weights_digest(request.weights) != before


@pytest.mark.parametrize(("model", "file"), [("net.pt2", "net.pt2"), ("my.networks:small", "my/networks.py")])
def test_a_changed_file_of_the_network_is_another_training(
    model: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).parent.mkdir(exist_ok=True)
    folders = []
    for content in ("a", "b", "a"):
        Path(file).write_text(content)
        folders.append(SearchRequest(model=model).training_folder)
    assert folders[0] == folders[2] != folders[1]


EDITS = {
    "of a module": ("net.py", "net"),
    "of a module beside it": ("layers.py", "net"),
    "of a module beside that": ("kernels.py", "net"),
    "of a package": ("mypkg/models.py", "mypkg.models"),
    "that __init__ imports": ("mypkg/models.py", "mypkg"),
    "elsewhere in the package": ("mypkg/parts/layers.py", "mypkg.models"),
}


@pytest.mark.parametrize("where", ["here", "src", "editable"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_own_code_is_another_training(
    edit: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = {
        "net.py": "import math, layers as parts\nraise RuntimeError('is not run')",
        "layers.py": "from kernels import Kernel",
        "kernels.py": "",
        "mypkg/__init__.py": "from .models import build\nraise RuntimeError('is not run')",
        "mypkg/models.py": "from mypkg.parts.layers import Layer",
        "mypkg/parts/layers.py": "",
        "other.py": "",
    }
    place = tmp_path if where == "here" else tmp_path / "src"
    monkeypatch.chdir(tmp_path)
    if where == "src":
        monkeypatch.syspath_prepend(place)
    elif where == "editable":  # as setuptools finds a package that is installed from a folder

        class Finder:
            @staticmethod
            def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
                return PathFinder.find_spec(name, [str(place)]) if name in ("net", "mypkg") else None

        monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    for name, text in code.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)
    file, module = EDITS[edit]

    def folder() -> Path:
        return SearchRequest(model=f"{module}:build").training_folder

    before = folder()
    (place / "other.py").write_text("# edited")
    assert folder() == before
    (place / file).write_text(code[file] + "\n# edited")
    assert folder() != before
    (place / file).write_text(code[file])
    assert folder() == before
    assert not {"net", "layers", "mypkg"} & set(sys.modules)


def test_own_code_that_was_edited_after_it_was_imported_is_refused_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = "from torch import nn\nfrom edited_part import SIZE\ndef make(): return nn.Conv2d(3, SIZE, 1)\n"
    Path("of_edited_part.py").write_text(code)
    Path("edited_part.py").write_text("SIZE = 8\n")
    for _ in range(2):
        assert tracing.load_model("of_edited_part:make").module.out_channels == 8  # type: ignore[union-attr]
    Path("edited_part.py").write_text("SIZE = 16\n")
    with pytest.raises(ValueError, match=r"edited_part\.py has changed .*; start Python anew$"):
        tracing.load_model("of_edited_part:make")


def test_a_network_in_one_file_keeps_the_training_of_earlier_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("alone.py").write_text("import torch\nfrom torch import nn")
    assert network_digest("alone:build") == weights_digest("alone.py")
    assert network_digest("nothing_of_this_name.models:build") == ""


def test_a_network_that_is_exported_again_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "load_model", lambda model, weights, resolution: Path(model).read_text())
    monkeypatch.setattr(tracing, "adopt", str)
    file = tmp_path / "net.pt2"
    for content in ("a", "b", "a"):
        file.write_text(content)
        assert adopted(TrainRequest(model=str(file))) == content


def test_images_are_normalised_as_trained_weights_expect_or_as_is_said(tmp_path: Path) -> None:
    torch.save(Small().state_dict(), tmp_path / "w.pth")
    plain = TrainRequest(model=MODEL, weights=str(tmp_path / "w.pth"))
    assert normalisation(plain) == (IMAGENET_MEAN, IMAGENET_STD)
    assert normalisation(replace(plain, model="tests.nas.tracing.user_networks:of_timm"))[0] == (0.5, 0.4, 0.3)
    half = DataSettings.from_dict({"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]})
    assert normalisation(replace(plain, data=half)) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    # Random weights expect nothing; the images are read with these numbers then.
    assert normalisation(TrainRequest(data=half)) is None


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(ValueError, match="--weights are those of a network"):
        TrainRequest(weights="w.pth")
    with pytest.raises(ValueError, match="--model makes a search space of its own"):
        TrainRequest(model=MODEL, space=SpaceSettings(name="fbnet"))
    with pytest.raises(ValueError, match="--model is what a training starts from"):
        SearchRequest(model=MODEL, supernet="cifar10")
