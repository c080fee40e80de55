"""Baselines: which are at hand, and what is said of them."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import nas
from nas.data import DataSettings, load_data
from nas.devices import get_device
from nas.devices.runtimes import file_precision
from nas.devices.transport import DeviceUnavailable
from nas.evaluation.confusion import Confusion
from nas.export.network_file import FileKind
from nas.pipeline import at_hand, baselines, compared
from nas.pipeline.at_hand import baseline_names, weights_at_hand
from nas.pipeline.baselines import compare
from nas.pipeline.check import check_search
from nas.pipeline.compared import GIVEN_NETWORK, compared_with
from nas.pipeline.deploy import predictions_as_file
from nas.pipeline.request import SearchRequest
from nas.pipeline.verdict import Judged, best_of, verdict
from nas.progress import Listener
from nas.search.budget import Budget
from nas.supernet import Subnet, Supernet
from nas.training import Trainer
from nas.training.estimate import Costs
from search_spaces import get_space

PLAIN = Judged("mobilenet_v2", 96, 60_000_000, 2_000_000, 0.80, 0.79, 0.02, 2.0, 1.9, 2.1, True, 60.0, 0.004, 0.006)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_files_that_torch_downloaded_are_found(cache: Path) -> None:
    assert weights_at_hand() == {}
    for name in ("mobilenet_v2-7ebf99e0.pth", "mobilenet_v2.pth", "vgg16-397923af.pth"):
        (cache / name).touch()
    assert weights_at_hand() == {"mobilenet_v2": cache / "mobilenet_v2-7ebf99e0.pth"}
    assert "mobilenet_v2" in baseline_names("auto")


def test_what_is_not_at_hand_is_refused(cache: Path) -> None:
    with pytest.raises(ValueError, match="no weights of mobilenet_v9 here"):
        baseline_names("mobilenet_v9")


def test_damaged_weights_that_are_named_are_refused_before_the_search(cache: Path) -> None:
    (cache / "mobilenet_v2-7ebf99e0.pth").write_bytes(b"cut short")
    with pytest.raises(ValueError, match=r"mobilenet_v2-7ebf99e0\.pth is damaged: .*; delete it"):
        check_search(SearchRequest(baselines="mobilenet_v2"))


def test_a_search_whose_baselines_fail_keeps_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise DeviceUnavailable("device cpu was lost")

    monkeypatch.setattr(baselines, "compare", fail)
    found = nas.search(device="pixel", latency="2ms", runs=tmp_path)
    assert found.about["baselines"] == {}
    assert "The chosen network is compared with no baselines: device cpu was lost." in found.about["notes"]
    assert (Path(found.about["folder"]) / "result.json").is_file()


def test_none_compares_with_nothing(cache: Path) -> None:
    assert baseline_names("none") == []


def test_without_anything_at_hand_there_are_none(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_hand, "pretrained_names", lambda: [])
    assert baseline_names("auto") == []


def chosen(accuracy: float) -> dict[str, Any]:
    return {"accuracy": accuracy, "test_accuracy": accuracy - 0.01, "seconds": 120.0}


def test_the_verdict_says_which_is_better_and_by_how_much() -> None:
    said = verdict(chosen(0.85), 1.5, [PLAIN, replace(PLAIN, name="slow", accuracy=0.99, keeps_budget=False)])
    assert said.startswith("5.0 ± 0.4 points better than a plain mobilenet_v2 at 96 px on search-validation (")
    assert "; test 84.0% against 79.0%, +5.0 ± 0.6; 1.5 against 2 ms; fine-tuned for 1 min" in said
    assert "exported" not in said
    assert "No clear difference" not in said


def test_a_better_baseline_is_named() -> None:
    said = verdict(chosen(0.75), 1.5, [PLAIN])
    assert said.startswith("A plain mobilenet_v2 at 96 px is better here by 5.0 ± 0.4 points")
    assert said.endswith("It is exported as well.")


def test_a_small_difference_may_be_chance() -> None:
    said = verdict(chosen(0.801), 1.5, [PLAIN])
    assert said.startswith("No clear difference from a plain mobilenet_v2 at 96 px: +0.1 ± 0.4 points")


def test_with_mnas_a_slower_baseline_has_to_be_more_accurate() -> None:
    slow = replace(PLAIN, latency_ms=3.0, accuracy=0.86)
    best, counts = best_of([slow], 1.5, -0.07)
    assert best is slow
    assert counts == pytest.approx(0.86 * 2**-0.07)
    said = verdict(chosen(0.85), 1.5, [slow], -0.07)
    assert said.startswith("3.1 ± 0.4 points better than a plain mobilenet_v2")
    assert "accuracies count times (latency / limit)^-0.07" in said
    assert "exported" not in said
    assert verdict(chosen(0.85), 1.5, [slow]).startswith("A plain mobilenet_v2")
    assert best_of([slow, PLAIN], 1.5, -1.0)[0] is PLAIN
    assert best_of([replace(slow, keeps_budget=False)], 1.5) == (None, 0.0)


def test_who_is_compared_is_one_rule(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compared, "baseline_names", lambda asked: ["a", "b", "c"] if asked == "auto" else ["a"])
    traced = {sides: get_space("mobilenet_v3", resolutions=sides) for sides in ((32,), (32, 64))}
    monkeypatch.setattr(compared, "TracedSpace", type(traced[32, 64]))
    photographs = get_space("mobilenet_v3", resolutions=(128, 224))
    assert compared_with("auto", photographs, False) == ["a", "b", "c"]
    assert compared_with("auto", photographs, True) == [GIVEN_NETWORK, "a", "b"]
    assert compared_with("auto", traced[32, 64], True) == [GIVEN_NETWORK]
    assert compared_with("auto", traced[32, 64], False) == []
    assert compared_with("auto", traced[(32,)], True) == []
    assert compared_with("a", traced[(32,)], True) == ["a"]


def test_no_baseline_within_the_budget_is_said() -> None:
    assert verdict(chosen(0.8), 1.5, [replace(PLAIN, keeps_budget=False)]) == "No baseline keeps the budget."


def test_where_latency_cannot_be_measured_nothing_is_compared_by_it(tmp_path: Path) -> None:
    trained: Any = SimpleNamespace(
        space=get_space("mobilenet_v3", resolutions=(224,)),
        data=SimpleNamespace(labelled=True),
        evaluated=SimpleNamespace(folder=tmp_path),
    )
    said: list[str] = []
    found = compare(
        SearchRequest(baselines="auto"),
        trained,
        [get_device("pixel")],
        Budget.parse(latency="20ms"),
        *(SimpleNamespace() for _ in range(2)),  # type: ignore[arg-type]
        None,
        tmp_path,
        [],
        Listener(said.append),
    )
    assert found == {}
    assert not said or "cannot be measured here" in said[0]


def test_files_of_a_better_baseline_are_those_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: Any = SimpleNamespace(
        space=get_space("mobilenet_v3", resolutions=(224,)),
        data=SimpleNamespace(labelled=True),
        evaluated=SimpleNamespace(folder=tmp_path, notes=tmp_path, objective="accuracy"),
        card={"seconds": 60},
    )
    asked: dict[str, Any] = {}

    def deploy_subnet(*_: Any, **settings: Any) -> dict[str, Any]:
        asked.update(settings)
        file = {"file": "subnet.int8.rejected.onnx", "precision": "int8", "bytes": 5, "parity": {"top1_agreement": 0.5}}
        return {"exports": [file | {"accepted": False}], "files": {"ONNX int8": file["file"]}}

    candidate = SimpleNamespace(name="plain", data=None)
    made = SimpleNamespace(make=lambda *_: candidate)
    for name, stands_in in {
        "compared_with": lambda *_: ["plain"],
        "Candidate": made,
        "_largest_within": lambda *_: [96],
        "_finetuned": lambda *_: (SimpleNamespace(), 5.0),
        "_measure_together": lambda *_: [(1.0, 1.0, 1.0)] * 2,
        "predictions_as_file": lambda *_: None,
        "_judge": lambda *_: PLAIN,
        "deploy_subnet": deploy_subnet,
    }.items():
        monkeypatch.setattr(baselines, name, stands_in)
    monkeypatch.setattr("nas.export.checked.sentence", lambda record: f"{record['file']} lost too much")
    said: list[str] = []
    found = compare(
        SearchRequest(baselines="plain", batch=None, max_accuracy_drop=3.0),
        trained,
        [get_device("cpu")],
        Budget.parse(macs="1G"),
        SimpleNamespace(),  # type: ignore[arg-type]
        {"exports": [{"accuracy": 0.5}], "test_accuracy": 0.5},
        None,
        tmp_path,
        [FileKind("onnx", "int8")],
        Listener(said.append),
    )
    assert found["better"] == PLAIN.title
    assert (asked["batch"], asked["max_accuracy_drop"]) == (None, 0.03)
    assert said[-1] == "baseline mobilenet_v2 at 96 px: subnet.int8.rejected.onnx lost too much"


def test_a_killed_search_goes_on_with_the_resolutions_that_it_chose(tmp_path: Path) -> None:
    plain: Any = SimpleNamespace(name="plain", sides=(96, 128))
    other: Any = SimpleNamespace(name="other", sides=(96, 128))
    chosen = tmp_path / baselines.SIDES

    def never() -> list[int | None]:
        pytest.fail("measured again")

    assert baselines._sides([plain, other], chosen, lambda: [128, None]) == [128, None]
    assert baselines._sides([other, plain], chosen, never) == [None, 128]
    assert baselines._sides([plain], chosen, never) == [128]
    given: Any = SimpleNamespace(name="given network", sides=(224,))
    assert baselines._sides([given, plain], chosen, lambda: [224, 96]) == [224, 96]  # it was not among them
    assert baselines._sides([plain], chosen, never) == [96]


def test_a_baseline_is_judged_by_what_the_search_was_asked_for(tmp_path: Path) -> None:
    space = get_space("mobilenet_v3_small_images", resolutions=[16, 24], width_mult=0.5, num_classes=2)
    digits = load_data(DataSettings(resolution=24))
    rare = replace(digits.test, labels=(digits.test.labels == 0).long())
    data = replace(digits, classes=("other", "zero"), validation=rare, test=rare)
    subnet = Supernet(space).extract(space.min).eval()
    with torch.no_grad():
        classifier = list(subnet.classifier().parameters())
        classifier[0].zero_()
        classifier[1].copy_(torch.tensor([1.0, 0.0]))  # the frequent class, whatever the image
    others = [np.zeros(len(rare), dtype=np.int64)] * 2
    found = {}
    for objective in ("accuracy", "balanced_accuracy"):
        candidate = baselines.Candidate("plain", space, lambda _: subnet, data)
        found[objective] = baselines._judge(
            candidate, subnet, FileKind(), others, 1.0, (None, None, None), Budget.parse(macs="1G"), objective
        )
    frequent = float((rare.labels == 0).float().mean())
    assert found["accuracy"].test_accuracy == pytest.approx(frequent)
    assert found["accuracy"].test_error == pytest.approx(np.sqrt(frequent * (1 - frequent) / len(rare)), rel=0.1)
    assert found["balanced_accuracy"].accuracy == found["balanced_accuracy"].test_accuracy == pytest.approx(0.5)
    expected = Confusion.of(rare.labels, np.zeros(len(rare)), 2).balanced_accuracy_error
    assert found["balanced_accuracy"].test_error == pytest.approx(expected) != found["accuracy"].test_error


@pytest.mark.parametrize(
    ("runtime", "precision"), [("pytorch", "float32"), ("ncnn", "float16"), ("onnxruntime", "int8")]
)
def test_baselines_are_measured_and_counted_as_the_device_runs_them(
    runtime: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = get_space("mobilenet_v3_small_images", resolutions=[16, 24], width_mult=0.5, num_classes=10)
    data = load_data(DataSettings(resolution=24))
    candidate = baselines.Candidate("plain", space, Supernet(space).extract, data)
    device = get_device("cpu", folder=tmp_path)
    device = device.under(replace(device.spec, runtime=runtime, precision=precision), tmp_path)

    def measured(paths: list[Path], **_: Any) -> SimpleNamespace:
        assert all(path.stat().st_size for path in paths)
        took = [float(side) for side in candidate.sides]
        return SimpleNamespace(measurements=[SimpleNamespace(latency_ms=ms, p10_ms=ms, p90_ms=ms) for ms in took])

    monkeypatch.setattr(device, "measure_models", measured)

    def largest(**limits: str) -> list[int | None]:
        trained: Any = SimpleNamespace(data=data)
        return baselines._largest_within([candidate], device, Budget.parse(**limits), trained, Listener())

    assert largest(latency="20ms") == [16]
    assert largest(latency="15ms") == [None]
    costs = space.costs(space.max[None], file_precision(precision))
    size, peak = int(costs.weight_bytes[0]), int(costs.peak_activation_bytes[0])
    assert largest(size=f"{size}B") == [24]
    assert largest(memory=f"{peak}B") == [24]
    several: Any = SimpleNamespace(spec=device.spec, batch=8)
    for limits, kept in (({"memory": 8 * peak}, True), ({"memory": 8 * peak - 1}, False), ({"size": size}, True)):
        budget = Budget.parse(**{name: f"{limit}B" for name, limit in limits.items()})
        assert baselines._keeps(space, space.max, None, budget, several) == kept


def test_a_baseline_is_trained_anew_for_another_time_and_read_back_for_the_same(tmp_path: Path) -> None:
    space = get_space("mobilenet_v3_small_images", resolutions=[16, 24], width_mult=0.5, num_classes=10)
    candidate = baselines.Candidate("efficientnet_lite0", space, Supernet(space).extract, load_data(DataSettings()))
    said: list[str] = []
    # As when further weights have come to hand between two searches: each baseline then gets less time.
    times = [
        baselines._finetuned(candidate, 16, tmp_path, seconds, SearchRequest(), Listener(said.append))[1]
        for seconds in (4.0, 2.0, 4.0)
    ]
    assert times[2] == round(times[0], 1)
    assert len(list((tmp_path / "baselines").glob("*/subnet.safetensors"))) == 2
    assert sum("take about" in line for line in said) == 2


@pytest.mark.parametrize("own", [True, False])
def test_a_given_network_keeps_its_own_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool) -> None:
    space = get_space("mobilenet_v3_small_images", resolutions=[16, 24], width_mult=0.5, num_classes=10)
    candidate = baselines.Candidate("given network", space, Supernet(space).extract, load_data(DataSettings()), own)
    devices: list[str] = []
    monkeypatch.setattr(baselines, "fit_classifier", lambda *_, device, **__: devices.append(device))
    monkeypatch.setattr(baselines, "train", lambda *_, **__: SimpleNamespace(seconds=1.0))
    baselines._finetuned(candidate, 16, tmp_path, 4.0, SearchRequest(accelerator="cpu"), Listener())
    assert devices == ([] if own else ["cpu"])


def test_int8_files_are_compared_by_what_they_answer_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_data(DataSettings(resolution=16))
    torch.manual_seed(0)
    space = get_space("mobilenet_v3_small_images", resolutions=[16], width_mult=0.5, num_classes=10)
    subnet = Supernet(space).extract(space.min).eval()
    float32, int8 = (predictions_as_file(subnet, FileKind("onnx", name), data) for name in ("float32", "int8"))
    assert [len(found) for found in int8] == [len(data.validation), len(data.test)]
    assert (float32[0] != int8[0]).any(), "an untrained network's answers lie close together"


def test_a_baseline_goes_on_without_a_classifier_that_is_fitted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, or with other threads, it comes out differently in its last bits."""
    space = get_space("mobilenet_v3_small_images", resolutions=[16, 24], width_mult=0.5, num_classes=10)
    candidate = baselines.Candidate("efficientnet_lite0", space, Supernet(space).extract, load_data(DataSettings()))
    fitted: list[int] = []
    train_step = Trainer.train_step

    def fit(subnet: Subnet, *_: Any, **__: Any) -> None:
        fitted.append(1)
        with torch.no_grad():
            subnet.classifier().weight.normal_()

    def stopped(self: Trainer, step: int) -> dict[str, float]:
        if step == 2:
            raise KeyboardInterrupt
        return train_step(self, step)

    monkeypatch.setattr(baselines, "fit_classifier", fit)
    monkeypatch.setattr("nas.training.loop.measure_costs", lambda *_, **__: Costs((1.0,), 0.0, 1.0))
    said: list[str] = []
    work = partial(baselines._finetuned, candidate, 16, tmp_path, 4.0, SearchRequest(), Listener(said.append))
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            work()
    work()
    assert len(fitted) == 1
    assert any("going on from step 1 of" in line for line in said)
