"""How well a device of these sets can be known at all: ``python -m experiments.latency_transfer.all_measured``.

Every test device is smoothed as a device of the fleet is, from all the networks that its set learns from (879 or 4,000
instead of ten), and predicts the same held-out networks. What is missing then is mostly the noise of single
measurements, which no choice of ten can undo. Nothing was decided by these figures.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from experiments.latency_transfer.data import SPLITS, Split, load_fleet  # noqa: E402
from experiments.latency_transfer.report import save_table  # noqa: E402
from predictors.encoding import ArchitectureEncoding  # noqa: E402
from predictors.held_out import latency_errors  # noqa: E402
from predictors.latency.sources import SourceDevices  # noqa: E402

ERRORS = ["spearman", "spearman_trimmed", "mape", "within_10"]


def all_measured(split: Split) -> Iterator[dict[str, object]]:
    """One row of errors for each test device of a set."""
    fleet = load_fleet(split.space)
    learn = np.flatnonzero(fleet.usable[: split.n_train])
    held_out = split.n_train + np.flatnonzero(fleet.usable[split.n_train : split.n_stop])
    encoding = ArchitectureEncoding(fleet.space, target="latency")
    smoothed = SourceDevices.fit(encoding, [fleet.measurements(device, learn) for device in split.test])
    relative = smoothed(encoding(fleet.population[held_out])).astype(np.float64)
    for column, device in enumerate(split.test):
        latency = fleet.latency_ms[device]
        predicted = latency[learn].mean() * relative[:, column]
        errors = latency_errors(latency[held_out], predicted, np.ones(len(held_out)))
        yield {
            "split": split.name,
            "device": device,
            "n": len(learn),
            **{name: round(float(getattr(errors, name)), 4) for name in ERRORS},
        }


def main() -> None:
    """Write and print the errors of every set's devices, and their means."""
    table = pd.DataFrame([row for split in SPLITS.values() for row in all_measured(split)])
    save_table(Path(__file__).parent / "results" / "all_measured.csv", table)
    print(table.to_string(index=False))
    print(table.groupby(["split", "n"], sort=False)[ERRORS].mean().round(4).reset_index().to_string(index=False))


if __name__ == "__main__":
    main()
