"""The Makefile takes an interpreter that the README allows."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("versions", "taken"),
    [
        ({"python3": 12, "python3.11": 11}, "python3"),
        ({"python3": 13, "python3.12": 12, "python3.11": 11}, "python3.12"),
        ({"python3": 14, "python3.12": 14, "python3.11": 11}, "python3.11"),
        ({"python3": 10, "python3.12": 13, "python3.11": 13}, None),
    ],
)
def test_the_first_interpreter_that_is_allowed(versions: dict[str, int], taken: str | None, tmp_path: Path) -> None:
    for name, minor in versions.items():
        pretends = f"import sys; sys.version_info = (3, {minor}, 0, 'final', 0); "
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretends}$2"\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "constraints.txt").touch()
    for file in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / file, tmp_path)
    done = subprocess.run(
        ["make", "--dry-run" if taken else "--silent", "setup"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if taken:
        assert f"\n{taken} -m venv .venv\n" in done.stdout
    else:
        assert "Python 3.11 or 3.12 is needed" in done.stderr
