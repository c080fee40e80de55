"""A home with finished runs, made once, and copies of it to break."""

import shutil
from pathlib import Path

import pytest

from experiments.robustness.tiny import call, make_home


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("home"), call)


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(home, tmp_path / "home"))
