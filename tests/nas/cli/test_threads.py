"""Threads that wait leave the cores to others, unless the user has said how they shall wait."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "told", "expected"),
    [
        ("nas.cli.app", {}, "2000"),
        ("nas.cli.app", {"GOMP_SPINCOUNT": "7"}, "7"),
        ("nas.cli.app", {"OMP_WAIT_POLICY": "ACTIVE"}, "None"),
        ("nas.pipeline.api", {}, "2000"),
    ],
    ids=["default", "spins", "policy", "Python"],
)
def test_spinning_of_waiting_threads(module: str, told: dict[str, str], expected: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    # Set before torch, which reads it when it is loaded.
    program = f"import {module}, os, sys; print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment | told, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", expected]
