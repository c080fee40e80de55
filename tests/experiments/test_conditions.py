"""Studies say under what conditions their numbers came about, and keep numbers of other conditions apart."""

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from experiments import conditions

STUDIES = Path(conditions.__file__).parent
BESIDE_ANOTHER = {"curves.csv", "summary.csv"}  # of the runs in accuracy.csv
FOLDERS = sorted({path.parent for path in STUDIES.rglob("results/**/*.csv")})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(STUDIES)))
def test_every_committed_table_says_where_it_was_made(folder: Path) -> None:
    if any(folder.glob("conditions*.json")):
        return
    for path in (path for path in folder.glob("*.csv") if path.name not in BESIDE_ANOTHER):
        with path.open(encoding="utf-8", newline="") as file:
            assert all(row["made_on"] for row in csv.DictReader(file)), path


def test_the_processor_is_named_and_not_its_architecture() -> None:
    facts = conditions.machine("numpy", "no-such-package")
    assert facts["cpu"] == conditions.processor() != "x86_64"
    assert facts["no-such-package"] == conditions.ABSENT
    assert conditions.made_on("numpy").endswith(f"numpy {facts['numpy']}")
    assert conditions.made_on().startswith(f"{facts['cpu']}, {facts['cores']} cores, Python ")


def test_other_conditions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "conditions.json"
    assert conditions.differing(path, {"seed": 1}) == []
    conditions.write_facts(path, {"seed": 0, "sizes": (1, 2), "cpu": "one"})
    assert json.loads(path.read_text())["seed"] == 0
    assert conditions.differing(path, {"seed": 0, "sizes": (1, 2), "written later": 3}) == []
    assert conditions.differing(path, {"seed": 1, "cpu": "other"}) == ["seed 0, not 1", "cpu one, not other"]


def test_rows_replace_those_of_the_same_keys_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("network,rate,test,made_on\na,0.015,0.9010,before\na,0.0012,0.8,here\nb,0.0012,0.7,here\n")
    rows = [{"network": "a", "rate": 0.0012, "test": 0.5, "made_on": "here", "more": None}]
    conditions.add_rows(path, rows, ["network", "rate", "made_on"])
    assert path.read_text().splitlines() == [
        "network,rate,test,made_on,more",
        "a,0.015,0.9010,before,",
        "b,0.0012,0.7,here,",
        "a,0.0012,0.5,here,",
    ]
    assert len(pd.read_csv(path)) == 3
