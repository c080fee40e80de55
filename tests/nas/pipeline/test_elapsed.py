"""The time of a search is that of all processes that worked on it, and of what it shares with others once."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.errors import InfeasibleBudget
from nas.pipeline import elapsed as module
from nas.pipeline import fleet
from nas.pipeline.elapsed import Elapsed
from nas.pipeline.request import SearchRequest
from nas.pipeline.run_folder import remove_if_unused


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "perf_counter", made)
    return made


def kept(folder: Path) -> float:
    return float(json.loads((folder / "seconds.json").read_text())["seconds"])


def test_what_an_interrupted_process_needed_counts(clock: Clock, tmp_path: Path) -> None:
    first = Elapsed(tmp_path)
    clock.now += 30
    with pytest.raises(KeyboardInterrupt), first:
        raise KeyboardInterrupt
    with Elapsed(tmp_path, shared=5) as elapsed:
        clock.now += 10
        assert elapsed.seconds == 45
    assert kept(tmp_path) == 40


def test_a_refused_search_leaves_nothing(clock: Clock, tmp_path: Path) -> None:
    for error in (ValueError("no"), InfeasibleBudget("no")):
        with pytest.raises(type(error)), Elapsed(tmp_path):
            raise error
    assert not list(tmp_path.iterdir())
    with Elapsed(tmp_path / "not made"):
        pass
    assert not (tmp_path / "not made").exists()
    with Elapsed(tmp_path):
        pass
    remove_if_unused(tmp_path, [])
    assert not tmp_path.exists()


def test_each_of_several_devices_has_its_own_time_and_what_all_needed(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def passing(seconds: float) -> Any:
        def step(*_: Any) -> Any:
            clock.now += seconds
            return SimpleNamespace()

        return step

    def run_task(request: Any, task: Any, trained: Any, folder: Path, elapsed: Elapsed, *_: Any) -> Any:
        folder.mkdir(parents=True, exist_ok=True)
        clock.now += 7
        return SimpleNamespace(about={"seconds": elapsed.seconds})

    steps = {"prepare_task": passing(2), "get_supernet": passing(100), "run_task": run_task}
    steps |= {"check_reachable": passing(0), "refuse_other_search": passing(0), "say_expected_time": passing(0)}
    for name, step in steps.items():
        monkeypatch.setattr(fleet, name, step)
    request = SearchRequest(device="pixel,note10", supernet="cifar10")
    found = fleet.search_fleet(request, tmp_path)
    assert [each.result.about["seconds"] for each in found if each.result] == [111, 111]
    assert [kept(tmp_path / each.device) for each in found] == [7, 7]
