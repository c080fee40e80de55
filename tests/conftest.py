"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


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
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
