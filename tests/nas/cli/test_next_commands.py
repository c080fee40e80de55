"""The commands that are printed to be typed next ask for what was asked for so far."""

import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.cli.arguments import as_typed, measure_command
from nas.cli.call import Call
from nas.cli.config import FitConfig, MeasureConfig, SearchConfig, TrainConfig
from nas.cli.flags import parse
from nas.cli.verb import VERBS
from nas.cli.verbs import fit, measure, search_from, train
from nas.cli.verbs.search_from import measuring
from nas.data.settings import DataSettings
from nas.devices import Device
from nas.devices.spec import DeviceSpec
from nas.pipeline.request import Limits
from nas.search.latency import ONLY_DEVICE
from search_spaces.settings import SpaceSettings


def test_the_search_that_measures_has_the_settings_of_the_former_one() -> None:
    config = SearchConfig(
        former="RUN",
        objective="balanced_accuracy",
        confidence=0.9,
        seed=3,
        finetune_time="3min",
        batch=None,
        device_threads=2,
        finalists=5,
        budget=Limits(throughput="110%", macs="3M"),
        name="photos",
        json=True,
    )
    words = measuring(config, "runs/train/it", ["cpu"])
    assert words[:6] == ["nas", "search", "--supernet", "runs/train/it", "--device", "cpu"]
    assert set(parse(words[2:], VERBS["search"].flags).overrides) == {
        "supernet=runs/train/it",
        "device=cpu",
        "objective=balanced_accuracy",
        "confidence=0.9",
        "seed=3",
        "finetune_time=3min",
        "batch=null",
        "device_threads=2",
        "finalists=5",
        "budget.throughput=110%",
        "budget.macs=3M",
    }


def test_a_finished_search_is_not_asked_for_the_throughput_of_another_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    known_at_16 = SimpleNamespace(latencies={ONLY_DEVICE: SimpleNamespace(batch=16)})
    former = SimpleNamespace(devices={"jetson-tx2": ()}, objectives=known_at_16)
    monkeypatch.setattr(search_from, "load_run", lambda folder: former)
    config = SearchConfig(former="run", budget=Limits(throughput="100img/s"))
    with pytest.raises(ValueError, match="jetson-tx2 is known at 16; type --latency 160ms in its place"):
        search_from.run(config, Call(Path(), "nas search"))


def test_images_that_have_moved_are_named(tmp_path: Path) -> None:
    here = DataSettings(name="folder", root=str(tmp_path))
    for config in (SearchConfig(data=here), SearchConfig(supernet="cifar10", moved_data=here)):
        words = measuring(replace(config, supernet=None), "cifar10", ["cpu"])
        assert words[2:6] == ["--supernet", "cifar10", "--data", str(tmp_path)]
    assert "--data" not in measuring(SearchConfig(), "cifar10", ["cpu"])


def test_devices_that_share_a_network_share_it_again_and_both_precisions_are_not_searched_again() -> None:
    config = SearchConfig(device="pixel,cpu", shared=True, precision="auto")
    assert measuring(config, None, ["pixel1", "cpu"]) == ["nas", "search", "--device", "pixel1,cpu", "--shared"]


def test_a_space_is_named_with_the_options_that_its_name_does_not_say() -> None:
    def words(**space: object) -> list[str]:
        return as_typed(FitConfig(space=SpaceSettings(**space)), ())  # type: ignore[arg-type]

    assert words() == []
    assert words(name="mobilenet_v3") == ["--space", "mobilenet_v3"]
    assert words(name="proxylessnas", width_mult=1.3) == ["--space", "proxylessnas"]
    assert words(name="mobilenet_v3", depths=(2, 3)) == ["--space", "mobilenet_v3", "space.depths=[2,3]"]
    assert words(name="mobilenet_v3_w1.2") == ["space.name=mobilenet_v3_w1.2"]


@pytest.mark.parametrize(
    ("space", "fitted", "searched"),
    [
        ("mobilenet_v3_small_images", "", "nas search --device cpu --batch 8 --latency 60%"),
        (
            "mobilenet_v3",
            "--space mobilenet_v3 ",
            "nas search --data ./photos --device cpu --space mobilenet_v3 --batch 8 --latency 60%",
        ),
    ],
)
def test_measuring_leads_to_fitting_and_to_a_search_in_the_same_space(space: str, fitted: str, searched: str) -> None:
    settings = SpaceSettings(name=space)
    asked = MeasureConfig(space=settings, batch=8, samples=20, suggest=True, seed=2)
    assert measure._next(asked, "cpu") == f"next: nas fit --device cpu {fitted}--batch 8"
    assert shlex.join(fit._search(FitConfig(space=settings, batch=8), "cpu")) == searched


def test_a_search_in_the_small_space_with_options_names_it() -> None:
    config = FitConfig(space=SpaceSettings(depths=(1, 2)))
    assert shlex.join(fit._search(config, "cpu")) == (
        "nas search --data ./photos --space mobilenet_v3_small_images --device cpu 'space.depths=[1,2]' --latency 60%"
    )


def test_a_training_leads_to_a_search_wherever_its_folder_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "train_supernet", lambda *args: None)
    train.run(TrainConfig(), Call(Path("my runs/a"), "nas train"))
    words = shlex.split(capsys.readouterr().err.splitlines()[-1])
    assert words == ["next:", "nas", "search", "--supernet", "my runs/a", "--device", "cpu", "--latency", "60%"]


def test_networks_are_measured_in_the_space_with_its_options_and_elsewhere_where_nothing_can_be_measured() -> None:
    space = SpaceSettings(name="mobilenet_v3", depths=(2, 3))
    for config in (FitConfig(space=space, batch=8), MeasureConfig(space=space, batch=8, samples=5, seed=3)):
        measured = measure_command(config, Device(DeviceSpec("cpu"), batch=8), "--suggest", "--samples", "4")
        assert measured == (
            "nas measure --device cpu --space mobilenet_v3 'space.depths=[2,3]' --batch 8 --suggest --samples 4"
        )
        imported = measure_command(config, Device(DeviceSpec("mine", transport="none")), "--suggest", "--samples", "4")
        assert imported.endswith("'space.depths=[2,3]' --batch 8 --import FILE")
