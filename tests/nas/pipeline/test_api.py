"""From Python as from the command line: the same settings, the same defaults."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from PIL import Image

import nas
from nas.cli.config import SearchConfig, TrainConfig
from nas.cli.main import main
from nas.errors import BudgetMissed
from nas.pipeline import api
from nas.pipeline.request import Limits, SearchRequest, TrainRequest
from nas.pipeline.settings import from_plain, to_plain
from nas.shipped.conf import choices
from nas.shipped.pretrained import pretrained
from nas.training import load_recipe

README = Path(__file__).parents[3] / "README.md"
GIVEN_OTHERWISE = {"budget", "moved_data", "usual_start", "former"}
FOLLOWING = {"data", "space", "recipe", "evaluations", "candidates", "finalists", "rounds"}
"""Arguments whose defaults follow from the others."""


@pytest.mark.parametrize(("function", "request_class"), [(api.search, SearchRequest), (api.train, TrainRequest)])
def test_every_setting_is_an_argument_with_its_default(function, request_class) -> None:
    arguments = inspect.signature(function).parameters
    names = {f.name for f in fields(request_class)} - GIVEN_OTHERWISE
    names |= {f.name for f in fields(Limits)} if request_class is SearchRequest else set()
    assert names <= arguments.keys()
    default = request_class()
    for name in names & {f.name for f in fields(request_class)} - FOLLOWING:
        assert arguments[name].default == getattr(default, name), name


def test_the_command_line_has_the_same_defaults() -> None:
    for ours, typed in ((TrainRequest, TrainConfig), (SearchRequest, SearchConfig)):
        there = to_plain(typed())
        assert to_plain(ours()) == {name: there[name] for name in to_plain(ours())}


@pytest.mark.parametrize("recipe", choices("recipe"))
def test_settings_come_back_from_plain_data(recipe: str) -> None:
    request = SearchRequest(recipe=load_recipe(recipe), budget=Limits(latency="60%"), device="a${b}")
    assert from_plain(SearchRequest, to_plain(request)) == request


def test_importing_is_light_and_the_package_can_be_called(tmp_path: Path) -> None:
    program = """
import sys, nas
assert not {"torch", "numpy", "pandas", "hydra"} & set(sys.modules)
import nas.search.budget
for _ in range(2):
    try:
        nas.search(data="./nonexistent", latency="60%")
    except ValueError as error:
        assert "does not exist" in str(error), error
    else:
        raise AssertionError
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", [{"space": "fbnet"}, {"recipe": "ofa"}, {"train_time": "5min"}])
def test_what_a_trained_supernet_cannot_heed_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=rf"leave {next(iter(asked))} out"):
        nas.search(supernet="cifar10", latency="60%", **asked)


def test_a_search_from_the_shipped_supernet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "nas.pipeline.completed.with_usual_start", lambda request, typed, recipe: (request, "how it starts")
    )
    result = nas.search(device="pixel", latency="2ms", runs=tmp_path / "runs")
    folder = Path(result.about["folder"])
    assert folder.parent == tmp_path / "runs" / "search"
    record, said = json.loads((folder / "result.json").read_text()), capsys.readouterr()
    call = f"nas.search(device='pixel', latency='2ms', runs='{tmp_path}/runs')"
    assert record["command"] == json.loads((folder / "settings.json").read_text())["command"] == call
    assert record["notes"][0] == "how it starts" == said.err.splitlines()[0]
    assert "searching 20,000 candidates" in said.err
    assert said.out == ""
    # What the README does with a result.
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    names = {"result": result}
    exec("\n".join(line for line in example.splitlines() if "nas.search(" not in line), names)
    assert names["network"].resolution == 32
    assert not names["network"].training


class _Asked(Exception):
    """Ends a call once its request is made."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SearchRequest]:
    """The request that the arguments of a search become."""

    def keep(verb: str, request: SearchRequest, out: object, command: str) -> None:
        raise _Asked(request)

    monkeypatch.setattr(api, "_run_folder", keep)

    def request_of(**arguments: object) -> SearchRequest:
        with pytest.raises(_Asked) as caught:
            nas.search(**arguments)
        return caught.value.args[0]

    return request_of


@pytest.mark.parametrize(
    "said",
    [{"model": "torchvision:x"}, {"init": "cifar10"}, {"data": "digits"}, {"resolution": 24}, {"space": "fbnet"}],
)
def test_who_says_what_to_start_from_gets_no_shipped_supernet(asked, said: dict[str, object]) -> None:
    assert asked().supernet == "cifar10"
    assert asked(**said).supernet is None


def test_a_resolution_reaches_the_images(asked, tmp_path: Path) -> None:
    assert asked(resolution=24).data.resolution == 24
    beside = asked(supernet="cifar10", data=tmp_path, resolution=24).moved_data
    assert (beside.root, beside.resolution, beside.validation_fraction) == (str(tmp_path), 24, 0.1)


@pytest.mark.parametrize(("typed", "made"), [({}, 24), ({"evaluations": 80}, 80)])
def test_evaluations_that_were_asked_for_stay(asked, tmp_path: Path, typed: dict[str, int], made: int) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (200, 200)).save(tmp_path / name / "1.png")
    assert asked(data=tmp_path, **typed).evaluations == (made if pretrained("efficientnet_lite0").installed else 80)
    assert asked(data="digits").evaluations == SearchRequest.evaluations


@pytest.mark.parametrize("typed", [{"evaluations": 80}, {"storage": "sqlite:///nas.db"}])
def test_what_needs_images_is_refused_without_them(typed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=rf"{next(iter(typed))} is of no use .* --supernet cifar10 --data PATH"):
        nas.search(latency="60%", **typed)


def test_images_without_their_folder_are_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"data=cifar10 needs the folder of its images: data\.root=PATH"):
        nas.search(data="cifar10", latency="60%")


def test_a_missed_budget_says_where_its_measurements_are_and_threads_are_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during: list[int] = []

    def miss(request: SearchRequest, folder: Path, *others: object) -> None:
        during.append(torch.get_num_threads())
        (folder / "measurements.csv").touch()
        raise BudgetMissed("none kept it")

    monkeypatch.setattr(api, "search_request", miss)
    torch.set_num_threads(2)
    with pytest.raises(BudgetMissed, match="none kept it") as caught:
        nas.search(device="pixel", latency="2ms", threads=1, runs=tmp_path, listener=nas.SILENT)
    assert (during, torch.get_num_threads()) == ([1], 2)
    assert caught.value.folder is not None
    assert (caught.value.folder / "measurements.csv").is_file()


def test_the_command_line_keeps_how_a_search_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: list[SearchRequest] = []
    monkeypatch.setattr(
        "nas.pipeline.completed.with_usual_start", lambda request, typed, recipe: (request, "how it starts")
    )
    monkeypatch.setattr("nas.cli.verbs.search.run", lambda config, call: kept.append(config) or 0)
    assert main(["search", "--device", "pixel", "--latency", "2ms", "--out", str(tmp_path / "run")]) == 0
    assert kept[0].usual_start == "how it starts"
