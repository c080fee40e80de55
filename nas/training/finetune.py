"""Training one chosen subnet on, from the weights that it inherited.

It learns from the labels and from the supernet's max net, as once-for-all's specialised networks do
(https://arxiv.org/abs/1908.09791, 25 epochs). Accuracy is a fraction in [0, 1].
"""

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from latency_tables.scratch import scratch_folder
from nas.data import ImageData
from nas.evaluation.accuracy import Answers, answers_of
from nas.evaluation.confusion import Confusion, paired_error
from nas.progress import SILENT, Listener
from nas.search.objectives import check_objective
from nas.supernet import Subnet
from nas.training.loop import CHECKPOINT_S, train
from nas.training.recipe import MOST_EPOCHS, Finetuning


@dataclass(frozen=True)
class Accuracies:
    """Of one network: accuracy, or balanced accuracy where that is the objective.

    Attributes
    ----------
    validation : on the search-validation split; decides what is kept.
    test : on the test split; decides nothing.
    validation_error, test_error : their standard errors.
    """

    validation: float
    test: float
    validation_error: float
    test_error: float

    @classmethod
    def of(cls, answers: Answers, data: ImageData, objective: str) -> Self:
        """Judge the classes that a network gives the images of search-validation and of the test."""
        labels = [split.labels.numpy() for split in (data.validation, data.test)]
        found = [Confusion.of(true, own, len(data.classes)) for true, own in zip(labels, answers, strict=True)]
        return cls(*(each.score(objective) for each in found), *(each.score_error(objective) for each in found))


@dataclass(frozen=True)
class Finetuned:
    """What came of it.

    Attributes
    ----------
    subnet : the one that is kept, in evaluation mode.
    before, after : accuracies.
    replaced : whether `subnet` is the new one, which is not clearly worse on the validation split than the old one.
    epochs : as trained; `train_time` may have chosen them.
    seconds : of training, however often it was interrupted.
    difference_error : standard error of how much the two differ on the validation split; see `paired_error`.
    """

    subnet: Subnet
    before: Accuracies
    after: Accuracies
    replaced: bool
    epochs: float
    seconds: float
    difference_error: float


def finetune(
    subnet: Subnet,
    teacher: Subnet | None,
    data: ImageData,
    settings: Finetuning,
    *,
    objective: str = "accuracy",
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    folder: Path | None = None,
    checkpoint_s: float = CHECKPOINT_S,
    train_time: str | None = None,
    resume: bool = True,
    listener: Listener = SILENT,
) -> Finetuned:
    """Train a copy of `subnet` on and keep it, unless it is clearly worse on the validation split.

    These images have chosen `subnet` among others, so its accuracy on them is the highest of many and too high by about
    one standard error. The trained one is kept unless it is below that by more than the standard error of their
    difference.

    Parameters
    ----------
    subnet : with the weights to begin from; fresh ones make it training from scratch, by the same schedule.
    teacher : usually the max net, its batch-norm calibrated; None learns from labels alone.
    data : trained on its train split, decided on its validation split.
    objective : what it is decided by on the validation split, ``accuracy`` or ``balanced_accuracy``.
    folder : where log and checkpoint are kept; a killed call with the same arguments goes on from there. None keeps
        none.
    seed, device, threads, checkpoint_s, train_time, resume, listener : see `nas.training.train`.

    Raises
    ------
    ValueError, TrainingDiverged, OSError, KeyboardInterrupt, SystemExit : as `nas.training.train`.
    """
    check_objective(objective)
    data.require_labels("fine-tuning")
    taught = teacher is not None and settings.label_weight < 1
    net = copy.deepcopy(subnet)
    with nullcontext(folder) if folder is not None else scratch_folder() as place:
        result = train(
            net,
            data,
            settings.recipe(taught=taught),
            place,
            seed=seed,
            threads=threads,
            device=device,
            checkpoint_s=checkpoint_s,
            evaluations=1,
            teacher=teacher if taught else None,
            train_time=train_time,
            most_epochs=MOST_EPOCHS,
            resume=resume,
            listener=listener,
        )
    net = net.to("cpu").eval()
    answers = [answers_of(each, data) for each in (subnet, net)]
    before, after = (Accuracies.of(each, data, objective) for each in answers)
    error = paired_error(answers[1][0], answers[0][0], data.validation.labels.numpy(), objective)
    replaced = after.validation >= before.validation - before.validation_error - error
    kept = net if replaced else subnet.eval()
    return Finetuned(kept, before, after, replaced, round(result.epochs, 2), round(result.seconds, 1), error)
