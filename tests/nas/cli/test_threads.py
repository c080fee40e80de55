"""Threads that wait leave the cores to others, unless the user has said how they shall wait."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("told", "expected"),
    [({}, "2000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "None")],
    ids=["default", "spins", "policy"],
)
def test_spinning_of_waiting_threads(told: dict[str, str], expected: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    # Set by the command line, and before torch, which reads it when it is loaded.
    program = "import nas.cli.app, os, sys; print('torch' in sys.modules, os.environ.get('GOMP_SPINCOUNT'))"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment | told, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", expected]
