"""By what to choose among networks of about one size: ``python -m experiments.photographs.finalists RUN ...``.

Each RUN is the folder of a finished search on photographs. Its finalists, and networks of the same range of MACs that
differ from one of them in one to four genes, are evaluated with the supernet's weights on search-validation and on
test. Then ten of them are drawn again and again, one is chosen by each of several criteria, and the mean of its test
accuracy says which criterion is worth most. ``results/finalists.csv`` holds the networks, ``results/choices.csv`` the
criteria.

The criteria read search-validation only; test judges the criteria.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from experiments.photographs.__main__ import add
from nas.evaluation.accuracy import judge
from nas.evaluation.confusion import standard_error
from nas.evaluation.trained import TrainedSupernet
from nas.search.active_learning import learn_from
from nas.search.finalists.proof import ordered_by_loss
from nas.search.record import read_record
from search_spaces import Population, SearchSpace

DRAWS, OF = 500, 10
CRITERIA: dict[str, Callable[[pd.DataFrame], Any]] = {
    "accuracy": lambda table: table["validation"],
    "calibrated loss": lambda table: -table["loss"],
    "loss where accuracy is alike": lambda table: ordered_by_loss(
        table["validation"].to_numpy(),
        table["loss"].to_numpy(),
        float(standard_error(table["validation"].max(), table["images"].iloc[0])),
    ),
    "predicted accuracy": lambda table: table["predicted"],
    "MACs": lambda table: table["mmacs"],
}
"""Worth of networks by what is known of them; the third is what `nas search` does."""


def near(space: SearchSpace, finalists: Population, n: int, seed: int) -> Population:
    """The finalists, and `n` networks that differ from one of them in one to four genes, of the same range of MACs."""
    rng = np.random.default_rng(seed)
    least, most = np.array([0.9, 1.1]) * np.sort(space.costs(finalists).macs)[[0, -1]]
    found = {row.tobytes(): row for row in space.canonical(finalists)}
    while len(found) < len(finalists) + n:
        row = finalists[rng.integers(len(finalists))].copy()
        for column in rng.choice(len(row), rng.integers(1, 5), replace=False):
            row[column] = rng.integers(space.n_choices[column])
        row = space.canonical(row[None])[0]
        if least <= space.costs(row[None]).macs[0] <= most:
            found.setdefault(row.tobytes(), row)
    return np.stack(list(found.values()))


def evaluated(run: Path, n: int, seed: int) -> tuple[str, list[dict[str, Any]]]:
    """The name of the photographs, and rows of the table of networks of one search."""
    trained = TrainedSupernet.of_search(read_record(run))
    space = trained.space
    table = pd.read_csv(run / "evaluations.csv")
    known = np.stack([space.parse(name) for name in table["architecture"]])
    predictor = learn_from(space, known, table["evaluated_accuracy"].to_numpy()).predictor
    finalists = np.stack([space.parse(name) for name in pd.read_csv(run / "finalists.csv")["architecture"]])
    rows = []
    for genotype in near(space, finalists, n, seed):
        subnet = trained.subnet(genotype)
        validation, test = (
            judge(subnet, split, trained.data) for split in (trained.data.validation, trained.data.test)
        )
        rows.append(
            {
                "architecture": subnet.architecture,
                "images": len(trained.data.validation),
                "mmacs": int(space.costs(genotype[None]).macs[0]) / 1e6,
            }
            | {"validation": round(validation.accuracy, 6), "loss": round(validation.loss, 6)}
            | {"predicted": round(float(predictor.predict(genotype[None])[0]), 6), "test": round(test.accuracy, 6)}
        )
        print(rows[-1], flush=True)
    return Path(trained.card["data_settings"]["root"]).name, rows


def choices(table: pd.DataFrame, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of the table of criteria for the networks of one search."""
    rng = np.random.default_rng(seed)
    drawn = [table.iloc[rng.choice(len(table), min(OF, len(table)), replace=False)] for _ in range(DRAWS)]
    best = np.mean([some["test"].max() for some in drawn])
    return [
        {"criterion": name, "networks": len(table)}
        | {"rank_correlation": round(float(spearmanr(worth(table), table["test"]).statistic), 3)}
        | {"test_of_chosen": round(np.mean([some["test"].iloc[np.argmax(worth(some))] for some in drawn]), 4)}
        | {"test_of_best": round(best, 4)}
        for name, worth in CRITERIA.items()
    ]


def main() -> None:
    """Evaluate the networks of every run, and judge the criteria."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path, help="folder of a finished search; its name stands in the tables")
    parser.add_argument("--networks", type=int, default=20, help="besides the finalists")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for run in asked.run:
        photographs, rows = evaluated(run, asked.networks, asked.seed)
        add(rows, "finalists.csv", ["architecture"], photographs=photographs, run=run.name)
        found = choices(pd.DataFrame(rows), asked.seed)
        add(found, "choices.csv", ["criterion"], photographs=photographs, run=run.name)
        print(pd.DataFrame(found).to_string(index=False))


if __name__ == "__main__":
    main()
