"""The study of photographs: whatever a search ends in is a row, and rows of other settings stay."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.photographs import __main__ as study

MISSED: dict[str, Any] = {
    "seed": 1,
    "status": "missed",
    "budgets": [{"key": "latency_ms", "limit": 2.5}],
    "costs": {"macs": 120_000_000},
    "measured": {"accuracy": None, "latency_ms": 2.61},
}
MET = MISSED | {
    "status": "met",
    "resolution": 128,
    "measured": {"accuracy": 0.91, "latency_ms": 2.4},
    "test_accuracy": 0.9,
    "test_accuracy_error": 0.013,
    "baselines": {
        "chosen": {"latency_ms": 2.3},
        "networks": [
            {"name": "plain", "resolution": 96, "macs": 70_000_000, "accuracy": 0.9, "test_accuracy": 0.89}
            | {"test_error": 0.014, "latency_ms": 1.6}
        ],
    },
}
TOLD = {"optimizer": "adamw", "learning_rate": "0.0012", "finalist_by": "loss and evaluated"}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(study, "RESULTS", tmp_path)
    return tmp_path


def test_a_budget_that_was_missed_and_one_that_cannot_be_kept_are_rows(results: Path) -> None:
    for record, budget in ((MET, "60%"), (MISSED, "35%")):
        rows = [TOLD | row for row in study.rows_of(record, budget, "8min", 600.0, 2.5)]
        study.add(rows, "budgets.csv", study.BUDGET_KEYS, photographs="flowers", more="")
    study.add(
        [study.infeasible("1%", "8min", 1, 60.0, 1.0)], "budgets.csv", study.BUDGET_KEYS, photographs="flowers", more=""
    )
    table = pd.read_csv(results / "budgets.csv")
    assert table["network"].tolist() == ["chosen network", "plain", "chosen network", "none"]
    assert table["status"].tolist() == ["met", "met", "missed", "infeasible"]
    assert table["test"].isna().tolist() == [False, False, True, True]
    assert table["latency_ms"].tolist()[:3] == [2.4, 1.6, 2.61]


def test_rows_of_another_optimiser_or_learning_rate_stay(results: Path) -> None:
    row = {"recipe": "adapt", "seed": 0, "epochs": 3.0, "network": "min net"}
    for optimizer, rate, accuracy in (("sgd", "0.015", 0.5), ("adamw", "0.0012", 0.6), ("adamw", "0.0012", 0.7)):
        rows = [{"optimizer": optimizer, "learning_rate": rate} | row | {"validation": accuracy}]
        study.add(rows, "recipes.csv", study.RECIPE_KEYS, photographs="flowers", largest="160")
    assert pd.read_csv(results / "recipes.csv")["validation"].tolist() == [0.5, 0.7]
