"""How long a search will take is said before it starts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nas.data.settings import DataSettings
from nas.devices import Device
from nas.devices.spec import DeviceSpec
from nas.errors import InfeasibleBudget
from nas.pipeline import expected_time, fleet, precisions
from nas.pipeline import search as pipeline
from nas.pipeline.request import Limits, SearchRequest
from nas.progress import Listener
from nas.shipped import CARD
from search_spaces import get_space
from search_spaces.settings import SpaceSettings

SPACE = {"name": "mobilenet_v3_small_images", "depths": [1, 2], "resolutions": [32]}


@pytest.fixture
def request_(tmp_path: Path) -> SearchRequest:
    return SearchRequest(space=SpaceSettings.from_dict(SPACE), runs=str(tmp_path))


@pytest.fixture
def devices(tmp_path: Path) -> list[Device]:
    return [Device(DeviceSpec("board", transport="ssh", host="me@there"), folder=tmp_path)]


def test_what_is_left_to_do_is_told_where_the_supernet_is_there(
    tmp_path: Path, devices: list[Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ends(*arguments: Any) -> None:
        raise InfeasibleBudget("enough")

    monkeypatch.setattr(pipeline, "named_devices", lambda request, listener: devices)
    monkeypatch.setattr(pipeline, "prepare_task", ends)
    monkeypatch.setattr(expected_time, "space_of", lambda request: None)
    monkeypatch.setattr(expected_time, "_seconds_an_evaluation", lambda *arguments: 1.0)
    monkeypatch.setattr(expected_time, "read_card", lambda folder: {"card": {"seconds": 480.0}})
    request = SearchRequest(
        data=pictures(tmp_path / "images"),
        init="cifar10",
        train_time="8min",
        finetune_time="3min",
        baselines="none",
        runs=str(tmp_path),
        evaluations=20,
    )
    said: list[str] = []
    for _ in range(2):
        with pytest.raises(InfeasibleBudget):
            pipeline.search(request, tmp_path / "run", Listener(say=said.append))
        request.training_folder.mkdir(parents=True, exist_ok=True)
        (request.training_folder / CARD).touch()
    new, again = said
    assert "about 12 min: 8 min of training, up to 52 s for 52 evaluations" in new
    assert "up to 3 min 52 s: up to 52 s for 52 evaluations of subnets, 3 min to train the chosen" in again


def pictures(root: Path) -> DataSettings:
    """Two classes of ten images, and a folder of three for validation."""
    for split, count in (("train", 10), ("val", 3)):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(root / split / name / f"{i}.png")
    return DataSettings(name="folder", root=str(root))


def test_the_time_of_several_searches_counts_each(
    tmp_path: Path, request_: SearchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[tuple[int, int]] = []
    monkeypatch.setattr(expected_time, "_seconds_an_evaluation", lambda space, *sizes: timed.append(sizes) or 1.0)
    monkeypatch.setattr(expected_time, "compared_with", lambda *_: ["some_net"])
    request = replace(
        request_,
        data=pictures(tmp_path / "images"),
        train_time="8min",
        finetune_time="2min",
        evaluations=20,
        finalists=4,
        rounds=2,
    )
    here = Device(DeviceSpec("here"), folder=tmp_path)
    known = Device(DeviceSpec("known", transport="none"), folder=tmp_path)
    assert (here.can_measure, known.can_measure) == (True, False)
    space = get_space(**SPACE)
    said = expected_time.expected_time(request, space, [[here], [known]])
    assert timed == [(16, 6)]  # the folder of validation is all of it, a fifth of each class is the test
    assert "up to 56 s for 56 evaluations" in said
    assert "10 min for baselines" in said
    assert "4 min to train each of the 2 chosen networks alone" in said
    assert said.startswith("this will take up to 23 min: 8 min of training")
    limited = replace(request, budget=Limits(latency="50%"))
    assert " 5 min for baselines" in expected_time.expected_time(limited, space, [[here], [known]])
    for devices in ([known], [here, here]):  # what cannot be measured, and a network that several devices share
        assert "baselines" not in expected_time.expected_time(limited, space, [devices])


def test_fleets_and_both_precisions_say_how_long_they_take(
    request_: SearchRequest, devices: list[Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def say(request: SearchRequest, searches: Any, listener: Listener) -> None:
        asked.append(len(searches))
        raise InfeasibleBudget("enough")

    for module in (fleet, precisions):
        monkeypatch.setattr(module, "say_expected_time", say)
    several = [Device(DeviceSpec(name), folder=tmp_path) for name in "abc"]
    monkeypatch.setattr(fleet, "named_devices", lambda request, listener: several)
    monkeypatch.setattr(precisions, "named_devices", lambda request, listener: several[:1])
    for search in (fleet.search_fleet, precisions.search_precisions):
        with pytest.raises(InfeasibleBudget, match="enough"):
            search(request_, tmp_path / "run")
    assert asked == [3, 2]
