import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from finished_search import damaged, fast_figures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.report.html import render, write_report
from nas.report.overview import read_overview, write_overview_page
from nas.report.run_folder import SearchRun


def test_no_name_in_a_run_folder_leads_out_of_it(run_folder: Path, tmp_path: Path) -> None:
    def devices(record: Any) -> None:
        for kind in ("predicted", "measured"):
            record[kind] |= {f"{key}@x/../../evil": value for key, value in record[kind].items()}

    def file(record: Any) -> None:
        record["exports"][0]["file"] = "../subnet.onnx"

    for name, change in (("devices", devices), ("file", file)):
        folder = damaged(run_folder, tmp_path / name / "run", change)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(ValueError, match="must be a plain name"):
            write_report(folder)
        assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("path", ["javascript:alert(1)", "../other", "/etc", "a/../../b", "", ".", "a\nb"])
def test_links_lead_into_the_folder_only(run_folder: Path, tmp_path: Path, path: str) -> None:
    summary = {"command": "", "runs": [{"label": "x", "folder": path, "failure": ""}]}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    if ":" in path:  # a strange name for a folder, but one inside
        shutil.copytree(run_folder, tmp_path / path)
        page = write_overview_page(tmp_path).read_text()
        assert 'href="./javascript%3Aalert%281%29/report.html"' in page
        assert 'href="javascript' not in page
    else:
        with pytest.raises(ValueError, match="must be a relative path without"):
            write_overview_page(tmp_path)
        assert not (tmp_path / "report.html").exists()


def test_a_linked_folder_outside_is_refused(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "x").symlink_to(run_folder)
    (tmp_path / "all" / "summary.json").write_text('{"command": "", "runs": [{"label": "x", "folder": "x"}]}')
    with pytest.raises(ValueError, match="is not inside of"):
        read_overview(tmp_path / "all")


CELLS = st.sampled_from(["", "x", "nan", "inf", "-1e400", '"'])
VALUES = st.sampled_from([None, [], {}, "", "x", -1, 0, 10**400, 1.5, True, [[]], {"a": None}, "\ud800", [None]])


def check_ending(folder: Path) -> None:
    """See that a run folder ends in a page or in one sentence."""
    outcome: Any = None
    try:
        run = SearchRun.read(folder)
        with fast_figures():
            outcome = render(run, folder)
    except ValueError as error:
        outcome = error
    assert type(outcome) in (str, ValueError), repr(outcome)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_edited_record_ends_in_a_page_or_one_sentence(run_folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    record = json.loads((run_folder / "result.json").read_text())
    inner: Any = record
    while True:
        key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else list(range(len(inner)))))
        if not (isinstance(inner[key], dict | list) and inner[key] and data.draw(st.booleans())):
            break
        inner = inner[key]
    if data.draw(st.booleans()):
        del inner[key]
    else:
        inner[key] = data.draw(VALUES)
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, dirs_exist_ok=True)
    (folder / "result.json").write_text(json.dumps(record))
    check_ending(folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_edited_table_ends_in_a_page_or_one_sentence(run_folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder, dirs_exist_ok=True)
    name = data.draw(st.sampled_from(["pareto.csv", "cloud.csv", "finalists.csv", "convergence.csv"]))
    lines = (folder / name).read_text().splitlines()
    number = data.draw(st.integers(0, min(3, len(lines) - 1)))
    cells = lines[number].split(",")
    cells[data.draw(st.integers(0, len(cells) - 1))] = data.draw(CELLS)
    lines[number] = ",".join(cells)
    (folder / name).write_text("\n".join(lines[: data.draw(st.sampled_from([0, 1, 2, len(lines)]))]))
    check_ending(folder)
