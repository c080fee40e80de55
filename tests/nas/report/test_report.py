import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from finished_search import (
    HOSTILE,
    HOSTILE_FILE,
    QUICK,
    SPACE,
    damaged,
    fast_figures,
    from_macs,
    measure,
)

from nas.cli.main import main
from nas.pipeline.request import SearchRequest
from nas.pipeline.settings import RunSettings
from nas.report.drawing import DARK, png
from nas.report.figures import convergence_figure, finalists_figure, pareto_figure
from nas.report.held_out import held_out_figure
from nas.report.html import render, write_report
from nas.report.layers import layer_table, slot_table
from nas.report.overview import row
from nas.report.run_folder import SearchRun
from nas.report.sentences import headline, notes
from nas.search.budget import Budget
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives
from nas.search.run import run_search


class Elements(HTMLParser):
    VOID = ("meta", "img", "source", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(folder: Path) -> Elements:
    elements = Elements()
    elements.feed((folder / "report.html").read_text(encoding="utf-8"))
    assert not elements.open  # every element is closed, in order
    return elements


def test_page_stands_alone_and_escapes_what_came_from_outside(run_folder: Path) -> None:
    elements = parsed(run_folder)
    assert "script" not in {tag for tag, _ in elements.seen}
    for tag, attributes in elements.seen:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "srcset", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", page)
    assert elements.text.count(HOSTILE) >= 5  # shown, as text


def test_page_says_what_was_found(run_folder: Path) -> None:
    text = parsed(run_folder).text
    record = json.loads((run_folder / "result.json").read_text())
    assert record["architecture"] in text
    assert f"{record['measured']['latency_ms']:.3g} ms" in text
    assert "84.21 ± 1.82 %" in text  # the error of a share of 400
    assert "measured: budget met" in text
    assert text.count("✓ met") == 2
    assert f"{record['costs']['macs'] / 1e6:.3g} M" in text
    assert "The test split decided nothing" in text
    assert "chosen by that number, so it is a little optimistic" in text
    assert "predicted only" not in text
    for name, value in (
        ("run folder", str(run_folder)),
        ("total time", "3 min 25 s"),
        ("input size", "32 × 32 pixels"),
    ):
        assert f"{name}{value}" in text
    assert "images1,000 train, 200 search-validation, 400 test" in text
    assert "Latency by stage" in text
    whole = sum(part["chosen_ms"] for part in record["latency_breakdown"])
    assert whole == pytest.approx(record["predicted"]["latency_ms"], rel=0.02)  # corrected since
    assert f"together{whole:.3g} ms" in text


def test_page_of_a_network_that_was_trained_alone_says_which_accuracy_is_which(run_folder: Path) -> None:
    run = SearchRun.read(run_folder)
    for kept, said in (("after", "is that after the training"), ("before", "a little optimistic")):
        run.record["finetuning"] = {"of": "runs/search/a", "kept": kept}  # type: ignore[typeddict-item]
        (sentence,) = [note for note in notes(run) if note.startswith("Finalists were evaluated")]
        assert said in sentence
    with fast_figures():
        page = render(run, run_folder)
    assert "of fine-tuning" in page
    assert "of which" not in page


def test_tables_of_files_and_precisions_show_what_they_were_judged_by(run_folder: Path, tmp_path: Path) -> None:
    def balanced(record: Any) -> None:
        record["objective"] = "balanced_accuracy"
        for file, validation, test in zip(record["exports"], (0.71, 0.41), (0.72, 0.42), strict=True):
            file |= {"balanced_accuracy": validation, "test_balanced_accuracy": test}
            file["test_balanced_accuracy_error"] = 0.03
        record["exports"][1] |= {"float32_balanced_accuracy": 0.7, "float32_test_balanced_accuracy": 0.73}
        found = {"device": "cpu", "chosen": True, "accuracy": 0.71, "test_accuracy": 0.99}
        earlier = found | {"precision": "int8", "chosen": False}
        found |= {"precision": "float32", "test_balanced_accuracy": 0.72, "test_balanced_accuracy_error": 0.03}
        record["precisions"] = [found, earlier]

    folder = damaged(run_folder, tmp_path / "run", balanced)
    write_report(folder)
    text = parsed(folder).text
    assert text.count("balanced accuracy,search-validationbalanced accuracy,test") == 2
    assert "71.00 %72.00 ± 3.00 %100.0% of 256" in text
    assert "41.00 %float32 70.00 %42.00 ± 3.00 %float32 73.00 %" in text
    assert "float32cpu71.00 %72.00 ± 3.00 %not measured" in text
    assert "int8cpu71.00 %–not measured" in text


def test_cells_of_several_searches_say_where_accuracy_is_balanced(run_folder: Path) -> None:
    record = SearchRun.read(run_folder).record
    plain = row(record)[:3]
    assert plain[2] == "84.21 ± 1.82 %"
    record |= {"objective": "balanced_accuracy", "test_balanced_accuracy": 0.72, "test_balanced_accuracy_error": 0.03}
    assert row(record)[:3] == [f"{cell}\nbalanced accuracy" for cell in (*plain[:2], "72.00 ± 3.00 %")]


@pytest.mark.parametrize(
    ("took", "said"),
    [(2.6, "kept 2.4 ms when measured on cpu"), (2.3, "is sure to keep 2.4 ms on cpu whenever it is measured")],
)
def test_a_missed_budget_is_said_as_it_was_missed(run_folder: Path, took: float, said: str) -> None:
    record = SearchRun.read(run_folder).record
    record |= {"status": "missed", "device": "cpu", "measured": record["measured"] | {"latency_ms": took}}
    for limit in record["budgets"]:
        limit |= {"met": False, "value": took} if limit["key"] == "latency_ms" else {}
    assert headline(record) == f"No finalist {said}; the closest took {took} ms."


def test_a_verdict_without_baselines_stands_on_the_page(run_folder: Path) -> None:
    run = SearchRun.read(run_folder)
    run.record["baselines"] = {"chosen": {}, "networks": [], "verdict": "No baseline keeps the budget."}
    with fast_figures():
        assert "No baseline keeps the budget." in render(run, run_folder)


def test_a_throughput_is_shown_as_it_was_typed(run_folder: Path, tmp_path: Path) -> None:
    def by_throughput(record: Any) -> None:
        record["budgets"][0]["throughput"] = "150%"

    folder = damaged(run_folder, tmp_path / "run", by_throughput)
    with fast_figures():
        page = render(SearchRun.read(folder), folder)
    assert page.replace("\xa0", " ").count("2.4 ms (throughput 150%)") == 2  # in the headline and in the table


def test_page_shows_the_loss_of_finalists_where_it_is_known(run_folder: Path, tmp_path: Path) -> None:
    explained = "the network of the lowest calibrated loss is chosen"
    page = write_report(run_folder).read_text()
    assert explained in page
    assert "1.2346" in page
    earlier = Path(shutil.copytree(run_folder, tmp_path / "earlier"))
    table = pd.read_csv(earlier / "finalists.csv").drop(columns="measured_loss")
    table.to_csv(earlier / "finalists.csv", index=False)
    page = write_report(earlier).read_text()
    assert explained not in page
    assert "1.2346" not in page


def test_page_lists_the_exported_files_as_they_are(run_folder: Path) -> None:
    text = parsed(run_folder).text
    cells = [
        HOSTILE_FILE,
        f"0.371 ms for 4 images{HOSTILE}, onnxruntime, 2 threads",
        "801 KB",
        "98.3 KB",
        "87.00 %",
        "84.21 ± 1.82 %",
        "100.0% of 256",
        "3.1e-06",
        "subnet.int8.rejected.onnxrejected: lost too much accuracy",
        "not measured",
        "230 KB",
        "24.6 KB",
        "61.00 %float32 87.00 %",
        "60.00 ± 2.45 %float32 84.21 %",
        "70.0% of 400",
        "1.5",
    ]
    assert "".join(cells) in text


def test_page_shows_recall_and_confusions_of_each_class(run_folder: Path) -> None:
    text = parsed(run_folder).text
    assert "balanced accuracy (the mean of the classes' recalls) 75.00 ± 3.00 %" in text
    assert "dog10055.00 ± 4.95 %" in text
    assert f"{HOSTILE}30095.00 ± 1.26 %" in text
    assert f"1: {HOSTILE}28515" in text
    assert "2: dog4555" in text


def test_page_of_an_unmeasured_search_says_so(tmp_path: Path) -> None:
    objectives = Objectives(SPACE, from_macs(0.7, 0.95), from_macs(1, 5))
    run_search(
        objectives,
        check_feasibility(objectives, Budget.parse(latency="60%")),
        settings=QUICK,
        folder=tmp_path,
        device="pixel",
    )
    write_report(tmp_path)
    text = parsed(tmp_path).text
    assert "predicted, not measured" in text
    assert "Latency is predicted only" in text
    assert "Accuracy is predicted only: this network was not evaluated" in text
    assert "✓ met" not in text
    assert "probability" in text


@pytest.mark.parametrize("limits", [{"macs": "3M"}, {}])
def test_page_without_a_device(tmp_path: Path, limits: dict[str, str]) -> None:
    run_search(
        Objectives(SPACE, from_macs(0.7, 0.95), None),
        check_feasibility(Objectives(SPACE, from_macs(0.7, 0.95), None), Budget.parse(**limits)),
        settings=QUICK,
        folder=tmp_path,
    )
    write_report(tmp_path)
    text = parsed(tmp_path).text
    assert "Accuracy against MACs" in text
    assert "Latency" not in text


def test_figures_differ_by_theme_and_are_the_same_every_time(run_folder: Path) -> None:
    run = SearchRun.read(run_folder)
    for draw in (pareto_figure, finalists_figure, convergence_figure):
        first = png(draw(run), dpi=50)
        assert first.startswith(b"\x89PNG")
        assert first == png(draw(run), dpi=50)
        assert first != png(draw(run, DARK), dpi=50)
    assert (run_folder / "pareto.png").read_bytes().startswith(b"\x89PNG")


def test_held_out_figure_shows_every_network() -> None:
    measured = np.array([1.0, 2.0, 3.0])
    axes = held_out_figure(measured, measured * 1.05, np.full(3, 0.1), "cpu, a space").axes[0]
    assert axes.get_title() == "cpu, a space"
    points = axes.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(points, np.stack([measured, measured * 1.05], axis=1))


def test_records_that_call_candidates_evaluations_are_read(run_folder: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run_folder, old)
    record = json.loads((old / "result.json").read_text())
    assert "evaluations" not in record
    record["evaluations"] = record.pop("candidates")
    (old / "result.json").write_text(json.dumps(record))
    table = (old / "convergence.csv").read_text()
    (old / "convergence.csv").write_text(table.replace("candidates", "evaluations", 1))
    assert SearchRun.read(old).record["candidates"] == record["evaluations"]
    assert SearchRun.read(old).convergence.equals(SearchRun.read(run_folder).convergence)


def test_layer_table_adds_up_to_the_paper_costs() -> None:
    genotype = SPACE.sample(1, np.random.default_rng(0))[0]
    layers = layer_table(SPACE, SPACE.format(genotype))
    costs = SPACE.costs(genotype[None])
    assert layers["macs"].sum() == costs.macs[0]
    assert layers["params"].sum() == costs.params[0]
    slots = slot_table(layers)
    assert slots["macs"].sum() == costs.macs[0]
    assert slots["slot"].tolist() == layers["slot"].drop_duplicates().tolist()
    first = slots.iloc[0]
    assert (first["channels"], first["size"], first["windows"]) == ("3 → 8", "32", "3×3")
    depthwise = layers[layers["layer"] == "depthwise"]
    assert depthwise["operator"].str.startswith("depthwise convolution").all()


def test_a_folder_without_a_search_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
        write_report(tmp_path)
    (tmp_path / "result.json").write_text('{"status": ')
    with pytest.raises(ValueError, match="result.json is not valid JSON"):
        write_report(tmp_path)


def test_page_of_a_network_that_devices_share(tmp_path: Path) -> None:
    latency = {"pixel": from_macs(1, 5), "note10": from_macs(2, 8)}
    budget = Budget.parse(latency={"pixel": "60%", "note10": "5ms"}, macs="9M")
    objectives = Objectives(SPACE, from_macs(0.7, 0.95), latency)
    result = run_search(
        objectives,
        check_feasibility(objectives, budget),
        settings=QUICK,
        folder=tmp_path,
        device="pixel, note10",
        measure={"pixel": measure},
    )
    page = write_report(tmp_path).read_text(encoding="utf-8")
    for device, known in (("pixel", "measured"), ("note10", "predicted")):
        assert (tmp_path / f"pareto_{device}.png").stat().st_size > 10_000
        for title in (
            f"Accuracy and latency of the networks on {device}",
            f"Finalists on {device}",
            f"latency on {device}",
        ):
            assert title in page
        (limit,) = (b for b in result.budgets if b["device"] == device)
        assert f"ms ({known}) on {device}" in page
        assert limit["source"] == known
    assert "no network was measured on note10" in page
    view = SearchRun.read(tmp_path).on("note10")
    assert view.limit("latency_ms") == 5
    assert view.front["predicted_accuracy"].is_monotonic_increasing
    assert view.front["predicted_latency_ms"].is_monotonic_increasing


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_backend_that_is_not_there_does_no_harm(run_folder: Path, backend: str) -> None:
    code = "import sys; from pathlib import Path; from nas.report.html import write_report as w; w(Path(sys.argv[1]))"
    words = [sys.executable, "-c", code, str(run_folder)]
    done = subprocess.run(words, env=os.environ | {"MPLBACKEND": backend}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_backend_of_a_notebook_is_that_of_its_own_figures() -> None:
    named = "module://some_notebook.backend"
    code = "import nas.report.drawing, matplotlib, os; print(matplotlib.rcParams['backend'], os.environ['MPLBACKEND'])"
    environment = os.environ | {"MPLBACKEND": named}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [named, named], done.stderr


def test_a_sweep_that_nothing_sums_up_is_shown_by_its_numbered_runs(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr("nas.cli.verbs.report.write_report", lambda folder: written.append(folder.name))
    sweep = tmp_path / "sweep"
    for number, latency in ((2, "1ms"), (10, "3ms")):
        folder = sweep / str(number)
        shutil.copytree(run_folder, folder)
        command = f"nas search budget.latency={latency} device=cpu"
        RunSettings("search", SearchRequest(), command).write(folder)
    assert main(["report", str(sweep)]) == 0
    assert written == ["2", "10"]
    text = parsed(sweep).text
    assert text.index("latency=1ms") < text.index("latency=3ms")
    assert "2 of 2 have a network" in text
    assert "device=cpu" not in text
    (sweep / "10" / "result.json").unlink()  # killed
    assert main(["report", str(sweep)]) == 0
    text = parsed(sweep).text
    assert "1 of 2 have a network" in text
    assert f"nas search --resume {sweep / '10'}" in text
