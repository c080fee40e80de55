"""Fixtures shared by all tests."""

import os
from pathlib import Path

# As `nas.cli.app` does, before NumPy and torch are imported: two workers with two threads each wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

import pytest
import torch

# Some tests fork. The first backward pass decides whether a child may compute gradients: it may not if torch.export was
# imported before, which then starts threads.
torch.ones(1, requires_grad=True).sum().backward()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the public data sets that some tests check against; they skip where it is absent."""
    root = Path(os.environ.get("NAS_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not root.is_dir():
        pytest.skip(f"the public data sets are not at {root}; set NAS_SHARED_DATA to where they are")
    return root


@pytest.fixture(autouse=True)
def _one_torch_thread(request: pytest.FixtureRequest) -> None:
    """Two test workers share two cores; one thread each is faster and repeatable."""
    torch.set_num_threads(1)
