"""A wheel built from the repository has everything inside, and puts no generic name into the user's environment."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = {"nas", "search_spaces", "predictors", "latency_tables"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without network from a copy of what the repository holds."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("the files of the repository are listed by git, which is not here")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "experiments/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(made)]
    subprocess.run([*command, str(source)], check=True, timeout=250)
    (found,) = made.glob("*.whl")
    return found


def test_everything_is_inside(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == TOP
    conf = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(conf) > 30
    assert {f"nas/{name}" for name in conf} <= names
    shipped = [p for p in (ROOT / "latency_tables").rglob("*") if p.suffix in (".csv", ".yaml", ".json")]
    shipped += [path for path in (ROOT / "nas" / "shipped").glob("*/*") if path.is_file() and path.suffix != ".pyc"]
    assert len(shipped) > 10
    assert {path.relative_to(ROOT).as_posix() for path in shipped} <= names
    assert {f"{top}/py.typed" for top in TOP} <= names
    # What is no Python and lies in a package is used by it.
    for path in (ROOT / "nas").rglob("*"):
        if path.suffix in (".html", ".css", ".js", ".jinja", ".json", ".yaml", ".csv", ".safetensors", ".png"):
            assert path.relative_to(ROOT).as_posix() in names


def test_it_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    (empty / "conf").mkdir()
    (empty / "conf" / "__init__.py").write_text("raise SystemExit('the conf of somebody else')\n")
    program = "import sys, nas.cli.main as m; assert 'site' in m.__file__; sys.exit(m.main(sys.argv[1:]))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": str(site)}

    def nas(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *words]
        return subprocess.run(
            command, cwd=empty, env=environment, capture_output=True, text=True, timeout=250, check=False
        )

    done = nas("search", "--device", "pixel", "--latency", "2ms", "--out", "run", "candidates=400")
    assert done.returncode == 0, done.stderr
    assert (empty / "run" / "subnet.onnx").is_file()
    assert (empty / "run" / "report.html").is_file()
    listed = nas("devices", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "cpu-int8" in listed.stdout
