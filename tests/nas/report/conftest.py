from pathlib import Path

import pytest
from finished_search import CLASSES, HOSTILE, HOSTILE_FILE, QUICK, SPACE, evaluate, from_macs, measure

from nas.report.html import write_report
from nas.search.budget import Budget
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives
from nas.search.run import run_search


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    objectives = Objectives(SPACE, from_macs(0.7, 0.95), from_macs(1, 5))
    budget = Budget.parse(latency="2.4ms", memory="90%")
    result = run_search(
        objectives,
        check_feasibility(objectives, budget),
        settings=QUICK,
        folder=folder,
        device=f"cpu {HOSTILE}",
        measure=measure,
        evaluate=evaluate,
        losses=lambda population: 1.23456 + 0 * evaluate(population),
    )
    result.about = {
        "command": f"nas search --device cpu --latency 2.4ms data.root={HOSTILE}",
        "classes": [HOSTILE, "dog"],
        "test_accuracy": 0.8421,
        "test_accuracy_error": 0.0182,
        "test_images": 400,
        "baselines": {
            "chosen": {"latency_ms": 2.4, "p10_ms": 2.3, "p90_ms": 2.5},
            "networks": [
                {
                    "name": HOSTILE,
                    "resolution": 96,
                    "macs": 60_000_000,
                    "params": 2_000_000,
                    "accuracy": 0.8,
                    "test_accuracy": 0.79,
                    "test_error": 0.02,
                    "latency_ms": 2.0,
                    "p10_ms": 1.9,
                    "p90_ms": 2.2,
                    "keeps_budget": True,
                    "seconds": 12.5,
                }
            ],
            "verdict": HOSTILE,
            "better": None,
            "files": {},
        },
        "exports": [
            {
                "file": HOSTILE_FILE,
                "format": "onnx",
                "precision": "float32",
                "bytes": 801_234,
                "batch": 4,
                "peak_activation_bytes": 98_304,
                "accepted": True,
                "accuracy": 0.87,
                "test_accuracy": 0.8421,
                "test_accuracy_error": 0.0182,
                "test": CLASSES,
                "parity": {"max_abs_difference": 3.1e-6, "top1_agreement": 1.0, "n": 256},
                "latency": {"latency_ms": 0.3712, "device": HOSTILE, "runtime": "onnxruntime", "threads": 2},
            },
            {
                "file": "subnet.int8.rejected.onnx",
                "format": "onnx",
                "precision": "int8",
                "bytes": 230_000,
                "batch": 1,
                "peak_activation_bytes": 24_576,
                "accepted": False,
                "accuracy": 0.61,
                "float32_accuracy": 0.87,
                "test_accuracy": 0.6,
                "test_accuracy_error": 0.0245,
                "float32_test_accuracy": 0.8421,
                "parity": {"max_abs_difference": 1.5, "top1_agreement": 0.7, "n": 400},
            },
        ],
        "resolution": 32,
        "images": {"train": 1000, "search-validation": 200, "test": 400},
        "seconds": 205.4,
        "notes": [HOSTILE],
        "predictors": {"latency": HOSTILE},
        "files": {HOSTILE: "odd"},
    }
    result.write(folder)
    write_report(folder)
    return folder
