"""Fine-tuning one subnet: it gets better, what got worse is not kept, and nothing else is touched."""

import copy
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data import DataSettings, ImageData, load_data
from nas.evaluation import calibration_batches, evaluate, evaluate_on_test
from nas.evaluation.accuracy import answers_of, confusion_on
from nas.evaluation.confusion import standard_error
from nas.progress import Listener
from nas.supernet import Subnet, calibrate_batch_norm
from nas.training import Finetuning, Trainer, TrainingDiverged
from nas.training.checkpoint import digest, going_on_or_anew
from nas.training.estimate import Costs
from nas.training.finetune import Accuracies, Finetuned, finetune
from search_spaces import get_space

SHORT = Finetuning(epochs=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data(DataSettings(resolution=16))


def network(data: ImageData, seed: int = 0) -> Subnet:
    torch.manual_seed(seed)
    space = get_space("mobilenet_v3_small_images", resolutions=[16], width_mult=0.5)
    net = Subnet(space, space.min)
    calibrate_batch_norm(net, calibration_batches(data, 16))
    return net.eval()


def weights(net: Subnet) -> np.ndarray:
    return np.concatenate([t.double().flatten().numpy() for t in net.state_dict().values()])


def test_it_learns_and_is_kept(digits: ImageData) -> None:
    net = network(digits)
    before = weights(net)
    tuned = finetune(net, None, digits, SHORT)
    assert tuned.after.validation > tuned.before.validation + 0.1
    assert tuned.replaced
    assert tuned.after.validation == evaluate(tuned.subnet, "validation", digits)
    assert tuned.after.test == evaluate_on_test(tuned.subnet, digits)
    assert not tuned.subnet.training
    assert (weights(net) == before).all(), "the network that was given must stay as it was"
    assert tuned.epochs == 2


@pytest.mark.parametrize(("errors", "kept"), [(0, True), (0.9, True), (1.4, True), (1.6, False)])
def test_chance_does_not_speak_for_the_old_one(
    errors: float, kept: bool, digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = float(standard_error(0.9, len(digits.validation)))
    found = iter([Accuracies(0.9, 0.9, error, 0.0), Accuracies(0.9 - errors * error, 0.9, 0.0, 0.0)])
    monkeypatch.setattr(Accuracies, "of", lambda *_: next(found))
    monkeypatch.setattr("nas.training.finetune.paired_error", lambda *_: 0.5 * error)
    old = network(digits)
    tuned = finetune(old, None, digits, Finetuning(epochs=1))
    assert tuned.replaced == kept
    assert (tuned.subnet is old) != kept


def test_balanced_accuracy_is_judged_by_its_own_error(digits: ImageData) -> None:
    labels = digits.validation.labels.numpy()
    few = np.flatnonzero(labels == 3)[:2]
    rare = replace(digits, validation=digits.validation.take(np.sort(np.append(np.flatnonzero(labels != 3), few))))
    found = Accuracies.of(answers_of(network(digits), rare), rare, "balanced_accuracy")
    assert found.validation == evaluate(network(digits), "validation", rare, "balanced_accuracy")
    assert found.validation_error == confusion_on(network(digits), rare.validation, rare).balanced_accuracy_error
    assert found.validation_error > 1.1 * float(standard_error(found.validation, len(rare.validation)))
    with pytest.raises(ValueError, match="objective must be"):
        finetune(network(digits), None, digits, SHORT, objective="loss")


def test_what_got_worse_is_not_kept(digits: ImageData) -> None:
    good = finetune(network(digits), None, digits, SHORT).subnet
    tuned = finetune(good, None, digits, Finetuning(epochs=1, learning_rate=3.0))
    assert tuned.after.validation < tuned.before.validation
    assert not tuned.replaced
    assert tuned.subnet is good


def test_the_same_seed_gives_the_same_weights(digits: ImageData) -> None:
    settings = Finetuning(epochs=1)
    a, b, c = (finetune(network(digits), None, digits, settings, seed=seed).subnet for seed in (0, 0, 1))
    assert (weights(a) == weights(b)).all()
    assert (weights(a) != weights(c)).any()


def test_a_killed_run_ends_with_the_same_weights(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, teacher, settings = network(digits), network(digits, seed=1), Finetuning(epochs=1, batch_size=128)
    told: list[int] = []
    train_step = Trainer.train_step

    def go(folder: Path | None, signal_at: tuple[int, int] = (0, 0)) -> Finetuned:
        def step_and_signal(self: Trainer, step: int) -> dict[str, float]:
            sums = train_step(self, step)
            told.append(step + 1)
            if step + 1 == signal_at[0]:
                os.kill(os.getpid(), signal_at[1])
            return sums

        monkeypatch.setattr(Trainer, "train_step", step_and_signal)
        return finetune(net, teacher, digits, settings, folder=folder, checkpoint_s=0.0)

    whole = go(None)
    if (child := os.fork()) == 0:
        try:
            go(tmp_path, signal_at=(5, signal.SIGKILL))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    told.clear()
    with pytest.raises(SystemExit):
        go(tmp_path, signal_at=(7, signal.SIGTERM))
    assert told == [5, 6, 7]
    resumed = go(tmp_path)
    assert told[3] == 8
    assert (weights(resumed.subnet) == weights(whole.subnet)).all()
    assert (resumed.before, resumed.after) == (whole.before, whole.after)
    n = len(told)
    assert (weights(go(tmp_path).subnet) == weights(whole.subnet)).all()
    assert len(told) == n, "a finished run has no steps left"


def test_statistics_in_other_last_bits_are_of_the_same_run(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another number of threads, or another processor, calibrates them."""
    work = partial(finetune, data=digits, settings=Finetuning(epochs=1), folder=tmp_path)
    net, teacher = network(digits), network(digits, seed=1)

    def calibrated_elsewhere(net: Subnet) -> Subnet:
        other = copy.deepcopy(net)
        for name, buffer in other.named_buffers():
            if name.endswith("running_var"):
                buffer.mul_(1 + 1e-6)
        return other

    trained = work(net, teacher)
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("it is trained anew"))
    again = work(calibrated_elsewhere(net), calibrated_elsewhere(teacher))
    assert (weights(again.subnet) == weights(trained.subnet)).all()
    with pytest.raises(ValueError, match="its network differs"):
        work(network(digits, seed=2), teacher)


def test_a_checkpoint_by_an_earlier_version_is_gone_on_from(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tells networks by their batch-norm statistics too."""
    work = partial(finetune, data=digits, settings=Finetuning(epochs=1), folder=tmp_path, train_time="1min")
    net, teacher = network(digits), network(digits, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr("nas.training.loop.measure_costs", lambda *_, **__: Costs((8.0,), 0.0, 1.0))
        patch.setattr("nas.training.loop.digest_as_in", lambda _: lambda net: digest(net.state_dict().values()))
        trained = work(net, teacher)
    monkeypatch.setattr(Trainer, "train_step", lambda *_: pytest.fail("it is trained anew"))
    assert (weights(work(net, teacher).subnet) == weights(trained.subnet)).all()
    with pytest.raises(ValueError, match="its teacher differs"):
        work(net, network(digits, seed=2))


def test_the_checkpoint_of_another_run_is_refused(digits: ImageData, tmp_path: Path) -> None:
    finetune(network(digits), None, digits, Finetuning(epochs=1), folder=tmp_path)
    with pytest.raises(ValueError, match="is of another run: its recipe differs"):
        finetune(network(digits), None, digits, SHORT, folder=tmp_path)


def test_work_whose_checkpoint_is_of_another_run_may_start_anew(digits: ImageData, tmp_path: Path) -> None:
    said: list[str] = []
    for settings in (Finetuning(epochs=1), SHORT, SHORT):
        work = partial(finetune, network(digits), None, digits, settings, folder=tmp_path)
        tuned = going_on_or_anew(work, "it", Listener(said.append))
    assert len(said) == 1
    assert said[0].startswith("it starts anew, as it cannot go on: ")
    assert (weights(tuned.subnet) == weights(finetune(network(digits), None, digits, SHORT).subnet)).all()
    with (tmp_path / "checkpoint.safetensors").open("r+b") as file:
        file.truncate(100)
    assert going_on_or_anew(work, "it", Listener(said.append)).epochs == 2
    assert "is damaged" in said[1]


def test_the_teacher_is_learnt_from_and_left_alone(digits: ImageData) -> None:
    teacher = network(digits, seed=1)
    with torch.no_grad():  # always says "three"
        linear = next(m for m in teacher.modules() if isinstance(m, torch.nn.Linear))
        linear.bias[3] = 20
    before = weights(teacher)
    net = network(digits)
    # The trained copy is the worse one, so look at what it says through the record.
    tuned = finetune(net, teacher, digits, Finetuning(epochs=1, label_weight=0, learning_rate=0.05))
    share_of_threes = float((digits.validation.labels == 3).float().mean())
    assert tuned.after.validation == pytest.approx(share_of_threes)
    assert (weights(teacher) == before).all()


def test_a_loss_that_is_not_finite_ends_it(digits: ImageData) -> None:
    net = network(digits)
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="diverged at step 0.*try a lower learning_rate"):
        finetune(net, None, digits, SHORT)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("epochs", 0.5, "epochs must be 1 to 25, got 0.5"),
        ("epochs", 26, "epochs must be 1 to 25, got 26"),
        ("batch_size", 1, "batch_size must be a whole number at least 2"),
        ("learning_rate", 0.0, "learning_rate must be a number above 0"),
        ("learning_rate", float("nan"), "learning_rate must be a number above 0"),
        ("label_weight", 1.5, "label_weight must be a number at least 0 and at most 1, got 1.5"),
        ("weight_decay", -1.0, "weight_decay must be a number at least 0"),
    ],
)
def test_settings_that_cannot_work(field: str, value: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Finetuning(**{field: value})
