"""A whole search on the embedded digits, in small: one run of the console script, looked at from all sides.

What follows it runs in this process, which has imported torch already.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from nas.cli.main import main
from nas.data import DataSettings, load_data, prepare
from nas.evaluation.confusion import standard_error
from nas.export.network_file import read_metadata
from nas.supernet import load_subnet

SMALL = [
    "+space.depths=[1,2]",
    "+space.width_mult=0.5",
    "space.resolutions=[16]",
    "data.resolution=16",
    "recipe.epochs=2",
    "samples=8",
    "evaluations=6",
    "candidates=2000",
    "finalists=3",
    "threads=1",
]
NAS = str(Path(sys.executable).with_name("nas"))


def nas(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    out, err = StringIO(), StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        code = main(words)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> tuple[Path, Path, dict]:
    """A folder with runs, the run folder of a search in it, and what the search printed as JSON."""
    home = tmp_path_factory.mktemp("home")
    # Every network takes less than a tenth of 1 ms: at such lengths one disturbed session would miss a tight budget.
    words = ["search", "--latency", "1ms", "--macs", "3M", "--json", "--out", "runs/search/first", *SMALL]
    done = subprocess.run([NAS, *words], cwd=home, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return home, home / "runs/search/first", json.loads(done.stdout)


def test_the_budget_holds_as_measured(searched):
    _, folder, record = searched
    assert record["status"] == "met"
    assert {budget["flag"]: budget["met"] for budget in record["budgets"]} == {"latency": True, "macs": True}
    limit = next(budget["limit"] for budget in record["budgets"] if budget["flag"] == "latency")
    assert record["measured"]["latency_ms"] <= limit
    finalists = pd.read_csv(folder / "finalists.csv")
    chosen = finalists.set_index("architecture").loc[record["architecture"]]
    proof = record["proof"]
    assert len(proof["sessions_ms"]) == chosen["sessions"] >= 3
    assert max(proof["sessions_ms"]) == chosen["measured_latency_ms"] <= proof["bound_ms"] <= limit
    # Of those that are as surely fast enough it is the most accurate.
    as_sure = (finalists["sessions"] >= chosen["sessions"]) & (
        finalists["measured_latency_ms"] <= min(proof["sessions_ms"])
    )
    assert not (finalists[as_sure]["measured_accuracy"] > record["measured"]["accuracy"]).any()


def test_the_onnx_file_is_the_network(searched):
    home, folder, record = searched
    data = load_data(DataSettings(resolution=16))
    images = prepare(data.test.images[:32], 16, data.mean, data.std)
    with torch.no_grad():
        expected = load_subnet(folder / "subnet.safetensors").eval()(images).numpy()
    session = onnxruntime.InferenceSession(str(folder / "subnet.onnx"), providers=["CPUExecutionProvider"])
    outputs = np.concatenate([session.run(None, {"images": image[None].numpy()})[0] for image in images])
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    metadata = read_metadata(folder / "subnet.onnx")
    assert metadata["architecture"] == record["architecture"]
    assert json.loads(metadata["classes"]) == list(data.classes)


def test_the_report_stands_alone(searched):
    _, folder, record = searched
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert record["architecture"] in page
    assert 'src="http' not in page
    assert (folder / "pareto.png").stat().st_size > 10_000


def test_a_second_search_trains_and_measures_nothing_again(searched):
    home, _, _ = searched
    table = (home / "runs/devices/cpu/cpu.csv").read_bytes()
    done = nas("search", "--latency", "1ms", "--out", "runs/search/second", *SMALL, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "training a supernet" not in done.stderr
    assert (home / "runs/devices/cpu/cpu.csv").read_bytes() == table


def test_another_budget_is_answered_from_a_search_without_torch_or_pandas(searched):
    home, folder, record = searched
    code = (
        "import sys; from nas.cli.main import main; code = main(sys.argv[1:]);"
        "assert not {'torch', 'pandas', 'onnx', 'scipy.special', 'matplotlib'} & set(sys.modules); sys.exit(code)"
    )

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "search", "--from", str(folder), *words]
        return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=280, check=False)

    done = ask("--latency", "95%", "--out", "runs/search/again", "--json")
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    limits = {budget["flag"]: budget for budget in again["budgets"]}
    assert limits["macs"]["typed"] == "3M"  # the former's other limit still counts
    assert limits["latency"]["typed"] == "95%"
    assert all(budget["met"] for budget in again["budgets"])
    assert again["supernet"] == record["supernet"]
    assert json.loads((home / "runs/search/again/result.json").read_text())["architecture"] == again["architecture"]
    faster = ask("--throughput", "110%", "--json")  # in place of the former's latency
    assert faster.returncode == 0, faster.stderr
    typed = {budget["flag"]: budget["typed"] for budget in json.loads(faster.stdout)["budgets"]}
    assert typed["latency"] == "90.9091%"
    infeasible = ask("--latency", "1us")
    assert infeasible.returncode == 3, infeasible.stderr
    assert "the cheapest needs" in infeasible.stderr


def test_resuming_a_finished_search_gives_the_same_answer(searched):
    home, folder, record = searched
    measurements = (folder / "measurements.csv").read_bytes()
    done = nas("search", "--resume", str(folder), cwd=home)
    assert done.returncode == 0, done.stderr
    again = json.loads((folder / "result.json").read_text())
    assert {key: again[key] for key in ("architecture", "measured", "predicted")} == {
        key: record[key] for key in ("architecture", "measured", "predicted")
    }
    assert (folder / "measurements.csv").read_bytes() == measurements


def test_another_budget_does_not_go_on_in_the_folder_and_changes_nothing_there(searched):
    home, folder, _ = searched
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = nas("search", "--resume", str(folder), "--latency", "40%", cwd=home)
    assert done.returncode == 2, done.stderr
    assert "was begun with another budget.latency, and goes on with that" in done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_a_given_supernet_keeps_to_its_own_images(searched):
    home, _, record = searched
    words = ["search", "--supernet", record["supernet"], "--latency", "90%", *(w for w in SMALL if "." not in w)]
    other = nas(*words, "--data", "digits", "data.resolution=16", "data.seed=1", cwd=home)
    assert other.returncode == 2, other.stderr
    (said,) = other.stderr.splitlines()
    assert f"data.seed=1 is not what {record['supernet']} was trained with, 0; leave it out" in said


def test_an_infeasible_budget_is_answered_with_the_range(searched):
    home, _, _ = searched
    done = nas("search", "--latency", "1us", *SMALL, cwd=home)
    assert done.returncode == 3, done.stderr
    assert "the cheapest needs" in done.stderr.splitlines()[-1]
    unmeasured = nas("search", "--params", "0.1K", "runs=elsewhere", *SMALL, cwd=home)
    assert unmeasured.returncode == 3, unmeasured.stderr
    assert not (home / "elsewhere").exists()


def test_a_sweep_runs_every_budget_and_ends_with_the_worst_code(searched):
    home, _, _ = searched
    done = nas("search", "--macs", "100K,90%", "-m", "--out", "runs/search/sweep", *SMALL, cwd=home)
    assert done.returncode == 3, done.stderr
    record = json.loads((home / "runs/search/sweep/1/result.json").read_text())
    assert record["status"] == "met"
    assert "macs=100K" in done.stdout  # the table at the end
    page = (home / "runs/search/sweep/report.html").read_text(encoding="utf-8")
    assert 'href="./1/report.html"' in page
    assert record["architecture"] in page
    assert "the cheapest needs" in page


def test_a_fleet_gets_a_network_each_and_one_that_cannot_takes_nothing_from_the_others(searched):
    home, _, _ = searched
    limits = "pixel=1us,cpu=1ms"
    words = ["search", "--device", "pixel,cpu", "--latency", limits, "--out", "runs/search/fleet", *SMALL]
    done = nas(*words, cwd=home)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("accuracy predictor") == 1
    assert re.search(
        "no network keeps its budget on 1 of 2 devices: pixel1: no network of", done.stderr.splitlines()[-1]
    )
    record = json.loads((home / "runs/search/fleet/cpu/result.json").read_text())
    assert record["status"] == "met"
    assert (home / "runs/search/fleet/cpu/subnet.onnx").exists()
    assert re.search("cpu .* cpu/subnet.onnx", done.stdout)
    page = home / "runs/search/fleet/report.html"
    first = page.read_text(encoding="utf-8")
    assert 'href="./cpu/report.html"' in first
    page.unlink()
    assert nas("report", "runs/search/fleet", cwd=home).returncode == 0
    assert page.read_text(encoding="utf-8") == first


def test_one_network_that_two_devices_share(searched):
    home, _, _ = searched
    limits = "cpu=1ms,pixel=95%"
    words = ["search", "--device", "cpu,pixel", "--shared", "--latency", limits, "--out", "runs/search/shared"]
    done = nas(*words, "--json", *SMALL, cwd=home)
    assert done.returncode == 0, done.stderr
    assert re.search("latency on cpu +latency on pixel1\n", done.stderr)  # the table of what can be kept
    record = json.loads(done.stdout)
    assert record["status"] == "predicted"  # the phone is not here
    cpu, pixel = record["budgets"]
    assert (cpu["device"], cpu["source"], cpu["met"]) == ("cpu", "measured", True)
    assert (pixel["device"], pixel["source"], pixel["met"]) == ("pixel1", "predicted", True)
    assert record["predicted"]["chance@pixel1"] >= 0.95
    words[5], words[-1] = "cpu=1ms,pixel=1us", "runs/search/none"
    done = nas(*words, *SMALL, cwd=home)
    assert done.returncode == 3, done.stderr
    assert "--latency 1us on pixel1" in done.stderr.splitlines()[-1]


def test_export_writes_the_network_again(searched):
    home, folder, _ = searched
    done = nas("export", str(folder), "--out", "dynamic.onnx", "batch=null", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(str(home / "dynamic.onnx"), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 16, 16]
    (export,) = json.loads(done.stdout)["exports"]
    assert export["latency"]["latency_ms"] > 0
    assert json.loads((home / "dynamic.onnx.json").read_text())["latency"] == export["latency"]


def test_what_is_exported_into_the_run_folder_joins_its_record_and_report(searched):
    home, folder, record = searched
    (own,) = record["exports"]
    assert own["latency"]["latency_ms"] == record["measured"]["latency_ms"]
    done = nas("export", str(folder), "--precision", "int8,float32", "--max-accuracy-drop", "100", cwd=home)
    assert done.returncode == 0, done.stderr
    again = json.loads((folder / "result.json").read_text())
    assert [export["file"] for export in again["exports"]] == ["subnet.onnx", "subnet.int8.onnx"]
    assert list(again["files"].values()) == ["subnet.onnx", "subnet.int8.onnx", "subnet.safetensors"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    for export in again["exports"]:
        assert json.loads((folder / f"{export['file']}.json").read_text()) == export
        assert f"{export['latency']['latency_ms']:.3g} ms<br>cpu, onnxruntime, 1 thread" in page


def test_finetune_exports_the_network_that_it_keeps(searched):
    home, folder, record = searched
    # RUN may hold int8 files of a barely trained network.
    words = [
        "epochs=1",
        "weight_decay=1.0e-3",
        "augmentation=[random_resized_crop]",
        "threads=1",
        "max_accuracy_drop=100",
    ]
    began = time.perf_counter()
    done = nas("finetune", str(folder), *words, "--json", "--out", "tuned", cwd=home)
    assert done.returncode == 0, done.stderr
    tuned = json.loads(done.stdout)
    assert tuned["finetuning"]["seconds"] <= tuned["seconds"] < time.perf_counter() - began
    assert tuned["seconds"] != record["seconds"]  # of the search
    before, after = (tuned["finetuning"][when]["validation"] for when in ("before", "after"))
    assert before == pytest.approx(record["measured"]["accuracy"], abs=0.01)
    n = tuned["images"]["search-validation"]
    error = float(standard_error(before, n)) + tuned["finetuning"]["difference_error"]
    assert tuned["finetuning"]["kept"] == ("after" if after >= before - error else "before")
    kept = tuned["finetuning"][tuned["finetuning"]["kept"]]["validation"]
    assert "trained as its supernet was, from a learning rate of 0.05 in batches of 64" in done.stderr
    assert tuned["finetuning"]["learning_rate"] == 0.05
    assert tuned["finetuning"]["weight_decay"] == 1e-3
    assert [entry["name"] for entry in tuned["finetuning"]["augmentation"]] == ["random_resized_crop"]
    assert (home / "tuned/augmentation.png").is_file()
    assert tuned["measured"]["accuracy"] == kept
    assert tuned["architecture"] == record["architecture"]
    assert "Trained alone for 1 epoch:" in (home / "tuned/report.html").read_text(encoding="utf-8")
    done = nas("export", "tuned", "--precision", "int8", "--max-accuracy-drop", "100", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    (export,) = json.loads(done.stdout)["exports"]
    assert export["float32_accuracy"] == pytest.approx(kept)
    assert (home / "tuned/subnet.int8.onnx.json").exists()


def test_measure_and_fit(searched):
    home, _, _ = searched
    space = [word.removeprefix("+") if "resolutions" in word else word for word in SMALL if "space." in word]
    done = nas("measure", "--samples", "2", "--suggest", "--json", *space, cwd=home)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 2
    done = nas("fit", "--out", "fitted", "--json", *space, cwd=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["errors"]["n"] >= 10
    assert (home / "fitted/parity.png").exists()


def test_an_interrupted_training_goes_on(tmp_path):
    words = [NAS, "train", "--out", "run", *(w for w in SMALL if w.startswith(("+space", "space", "data", "threads")))]
    process = subprocess.Popen([*words, "recipe.epochs=50"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run/log.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "--resume" in said.strip().splitlines()[-1]
    assert (tmp_path / "run/checkpoint.safetensors").exists()
