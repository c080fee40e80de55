"""What `nas.search` and `nas.train` are called with: wrong types are refused, and the call is kept as text."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import nas
from nas.data.settings import DataSettings
from nas.pipeline import api
from nas.pipeline.request import SearchRequest, TrainRequest


class _Asked(Exception):
    """Ends a call once its request is made."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SearchRequest, Path | None, str]]:
    """The request, the run folder and the text that the arguments of a call become."""

    def keep(verb: str, *made: object) -> None:
        raise _Asked(*made)

    monkeypatch.setattr(api, "_run_folder", keep)

    def call(function: Callable[..., object] = api.search, **arguments: object) -> tuple[SearchRequest, Path, str]:
        with pytest.raises(_Asked) as caught:
            function(**arguments)
        return caught.value.args

    return call


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"evaluations": 40.0}, "evaluations must be a whole number, got 40.0"),
        ({"threads": 8.0}, "threads must be a whole number, got 8.0"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"shared": 1}, "shared must be True or False, got 1"),
        ({"baselines": None}, "baselines must be text, got None; give 'none'"),
        ({"device": ["pixel", "cpu"]}, r"device must be text, got \['pixel', 'cpu'\]; several are one text"),
        ({"format": ("onnx", "tflite")}, "format must be text, .* like 'onnx,tflite'"),
        ({"model": nn.Identity()}, r"model must be text or a path, got Identity\(\); name a function"),
        ({"train_time": 20}, "train_time must be text, got 20, like '20min'"),
        ({"data": 3}, "data must be text or a path or DataSettings, got 3"),
        ({"listener": print}, "listener must be Listener, got <built-in function print>"),
        ({"latency": 20}, "--latency '20' has no unit; type 20ms"),
        ({"latency": {"pixel": 20.5}}, "--latency '20.5' has no unit"),
        ({"throughput": np.float32(500)}, "--throughput '500' is no throughput; type images a second, like 500img/s"),
        ({"macs": 10_000_000}, "--macs '10000000' has no unit"),
    ],
)
def test_another_type_is_refused_in_a_sentence(given: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        nas.search(**{"runs": tmp_path / "runs", "latency": "2ms", "device": "pixel"} | given)
    assert not (tmp_path / "runs").exists()


def test_an_argument_that_there_is_not_is_named() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'latencies'"):
        nas.search(latencies="2ms")


def test_numbers_of_numpy_are_numbers(asked: Callable[..., tuple[SearchRequest, Path, str]]) -> None:
    (seed,) = np.arange(3, 4)
    request, _, text = asked(seed=seed, confidence=np.float64(0.9), max_accuracy_drop=2)
    assert [type(value) for value in (request.seed, request.confidence, request.max_accuracy_drop)] == [int, float, int]
    assert text == "nas.search(confidence=0.9, max_accuracy_drop=2, seed=3)"


def test_paths_may_begin_with_the_home_folder(
    asked: Callable[..., tuple[SearchRequest, Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    trained = tmp_path / "runs/train/mine"
    trained.mkdir(parents=True)
    card = Path(nas.__file__).parent / "shipped/cifar10/supernet.json"
    (trained / card.name).write_bytes(card.read_bytes())
    request, out, _ = asked(supernet="~/runs/train/mine", runs=Path("~/runs"), out="~/results")
    assert (request.supernet, request.runs, out) == (str(trained), str(tmp_path / "runs"), str(tmp_path / "results"))
    request, out, _ = asked(api.train, runs="~/runs", model=Path("net.pt2"), weights="~/w.pth", out=Path("~/results"))
    assert (request.model, request.weights) == ("net.pt2", str(tmp_path / "w.pth"))
    assert (request.runs, out) == (str(tmp_path / "runs"), str(tmp_path / "results"))


def test_a_folder_named_like_shipped_images_is_a_folder(
    asked: Callable[..., tuple[SearchRequest, Path, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nas.pipeline.completed.with_usual_start", lambda request, typed, recipe: (request, ""))
    named = DataSettings(name="digits", resolution=32)

    def images(data: object) -> tuple[str, str | None]:
        settings = asked(data=data)[0].data
        return settings.name, settings.root

    assert images("digits") == (named.name, None)
    assert images(Path("cifar10")) == ("folder", "./cifar10")
    (tmp_path / "digits").mkdir()
    assert images("digits") == images(Path("digits")) == ("folder", "digits")
    assert asked(space="fbnet")[0].data.name == "digits"


def test_the_call_can_be_repeated(asked: Callable[..., tuple[SearchRequest, Path, str]], tmp_path: Path) -> None:
    storage = "postgresql://me:secret@host/nas"
    call = {"data": "digits", "device": "cpu", "latency": {"cpu": "2ms"}, "rounds": 2, "storage": storage}
    _, _, text = asked(**call, out=tmp_path, listener=nas.SILENT)
    assert text == (
        "nas.search(data='digits', latency={'cpu': '2ms'}, rounds=2, storage='postgresql://me:***@host/nas')"
    )
    assert asked(api.train, recipe="ofa", seed=1)[2] == "nas.train(recipe='ofa', seed=1)"


def test_counts_that_are_given_stay(asked: Callable[..., tuple[SearchRequest, Path, str]]) -> None:
    usual, given = SearchRequest(), {"evaluations": 7, "candidates": 500, "finalists": 3, "rounds": 9}
    plain, typed = asked(data="digits")[0], asked(data="digits", **given)[0]
    for name, count in given.items():
        assert (getattr(plain, name), getattr(typed, name)) == (getattr(usual, name), count)


def test_what_is_usual_for_the_images_is_told_and_kept(
    asked: Callable[..., tuple[SearchRequest, Path, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "nas.pipeline.completed.with_usual_start",
        lambda request, typed, recipe: (request, "starts from random weights"),
    )
    assert asked(data="digits")[0].usual_start == "starts from random weights"
    assert isinstance(asked(api.train, data="digits")[0], TrainRequest)
    assert capsys.readouterr().err == "starts from random weights\n" * 2
    asked(data="digits", listener=nas.SILENT)
    said = capsys.readouterr()
    assert said.err == said.out == ""
