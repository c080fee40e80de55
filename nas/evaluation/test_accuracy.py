"""The test accuracy of a trained supernet's subnets: measured after all choices, never used to make one.

Accuracy is a fraction in [0, 1]; every subnet has its inherited weights and batch-norm calibrated on training
images. The Pareto front is that of validation accuracy.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from latency_tables.files import write_text
from nas.evaluation.accuracy import evaluate_on_test, evaluate_subnets_on_test
from nas.evaluation.confusion import standard_error
from nas.evaluation.trained import TrainedSupernet
from nas.progress import Progress
from nas.search.evolution.pareto import front

FILE = "test_accuracy.csv"


@dataclass(frozen=True)
class Evaluated:
    """One subnet.

    Attributes
    ----------
    role : ``max``, ``min``, ``front`` (no evaluated subnet has fewer MACs and a higher validation accuracy) or
        ``random``; the first that applies.
    architecture : its name.
    macs, params : of one image.
    validation_accuracy, test_accuracy : on the two splits.
    test_error : standard error of the test accuracy; see `nas.evaluation.confusion`.
    """

    role: str
    architecture: str
    macs: int
    params: int
    validation_accuracy: float
    test_accuracy: float
    test_error: float


def evaluate_run(
    trained: TrainedSupernet, n_random: int = 8, seed: int = 0, progress: Progress | None = None
) -> list[Evaluated]:
    """Evaluate the max net, the min net, random nets of all sizes, and the front of all subnets evaluated so far.

    Parameters
    ----------
    trained : a finished run; validation accuracies in its cache are not computed again.
    n_random : how many random nets.
    seed : of the random nets.
    progress : called with the number of test evaluations done and of all.

    Returns
    -------
    The subnets by MACs, the largest first.
    """
    space = trained.space
    drawn = space.sample(n_random, np.random.default_rng([seed, n_random]), tilt=1.5)
    spread = np.concatenate([np.stack([space.max, space.min]), drawn])
    trained.evaluated(spread)
    known = trained.evaluated.known
    on_front = front(np.stack([-trained.evaluated(known), space.costs(known).macs.astype(float)], axis=1))
    rows = np.concatenate([spread, known[on_front]])
    roles = ["max", "min", *["random"] * n_random, *["front"] * len(on_front)]
    names = space.format(rows)
    # Where a net has two roles: max and min count before front, front before random.
    role = dict(zip(names[2:], roles[2:], strict=True)) | dict(zip(names[:2], roles[:2], strict=True))
    return evaluate_on_test_split(trained, role, progress)


def evaluate_on_test_split(
    trained: TrainedSupernet, role: Mapping[str, str], progress: Progress | None = None
) -> list[Evaluated]:
    """Evaluate subnets that were chosen without the test split on it.

    Parameters
    ----------
    role : of each subnet, by its architecture.
    progress : called with the number done and of all.

    Returns
    -------
    The subnets by MACs, the largest first.
    """
    space = trained.space
    population = space.canonical(np.stack([space.parse(name) for name in role]))
    population = population[np.argsort(-space.costs(population).macs, kind="stable")]
    costs, validation = space.costs(population), trained.evaluated(population)
    test = evaluate_subnets_on_test(trained.supernet, population, trained.data, progress=progress)
    if trained.given is not None:
        same = np.array(space.format(population)) == trained.given.architecture
        test[same] = evaluate_on_test(trained.given, trained.data)
    n = len(trained.data.test)
    return [
        Evaluated(
            role[name],
            name,
            int(costs.macs[i]),
            int(costs.params[i]),
            float(validation[i]),
            float(test[i]),
            float(standard_error(test[i], n)),
        )
        for i, name in enumerate(space.format(population))
    ]


def write_evaluated(folder: Path, subnets: Sequence[Evaluated]) -> Path:
    """Write ``test_accuracy.csv`` into `folder`; no other part of the program reads it."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(Evaluated)], lineterminator="\n")
    table.writeheader()
    for subnet in subnets:
        record = asdict(subnet)
        table.writerow({key: f"{value:.6f}" if isinstance(value, float) else value for key, value in record.items()})
    write_text(folder / FILE, text.getvalue())
    return folder / FILE
