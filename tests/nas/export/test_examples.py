"""The scripts in examples/, run where neither torch nor anything of this project can be imported."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image

from nas.data import DataSettings, ImageData, load_data, prepare
from nas.export.checked import export_checked
from nas.export.network_file import FileKind
from nas.supernet import Subnet

EXAMPLES = Path(__file__).parents[3] / "examples"
IMAGES = 12
TFLITE = pytest.mark.skipif(
    find_spec("ai_edge_litert") is None or find_spec("ai_edge_quantizer") is None,
    reason="needs the extra tflite: pip install 'shrinkwrap-nas[tflite]'",
)
# Runs a script as if only its own packages were installed.
ALONE = """
import runpy, sys
REFUSED = {"torch", "torchvision", "onnx", "nas", "search_spaces", "predictors", "latency_tables", "sklearn", "pandas"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {name!r} (refused by the test)")
sys.meta_path.insert(0, Refuse())
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    sys.exit("torch could be imported")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def small_digits() -> ImageData:
    """The digits as the network reads them, so that no other way of resizing comes between."""
    return load_data(DataSettings(resolution=16))


@pytest.fixture(scope="module")
def photos(small_digits: ImageData, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(small_digits.test.images[:IMAGES]):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


def run_alone(script: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", ALONE, str(EXAMPLES / script), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("script", "kind", "batch"),
    [
        ("classify_onnx.py", FileKind("onnx", "float32"), 1),
        ("classify_onnx.py", FileKind("onnx", "float32"), 3),
        ("classify_onnx.py", FileKind("onnx", "float32"), None),
        ("classify_onnx.py", FileKind("onnx", "int8"), 1),
        pytest.param("classify_tflite.py", FileKind("tflite", "float32"), 1, marks=TFLITE),
        pytest.param("classify_tflite.py", FileKind("tflite", "int8"), 3, marks=TFLITE),
    ],
)
def test_the_script_says_what_pytorch_says(
    script: str,
    kind: FileKind,
    batch: int | None,
    learnt: Subnet,
    small_digits: ImageData,
    photos: list[Path],
    tmp_path: Path,
) -> None:
    export_checked(learnt, small_digits, tmp_path / kind.file_name, kind, batch=batch, max_accuracy_drop=1)
    done = run_alone(script, tmp_path / kind.file_name, *photos)
    assert done.returncode == 0, done.stderr
    lines = [line.removeprefix(f"{photo}: ") for photo, line in zip(photos, done.stdout.splitlines(), strict=True)]
    images = prepare(small_digits.test.images[:IMAGES], 16, small_digits.mean, small_digits.std)
    with torch.no_grad():
        chances = learnt(images).softmax(1).numpy()
    expected = [f"{small_digits.classes[row.argmax()]} ({row.max():.1%})" for row in chances]
    if kind.precision == "float32":
        assert lines == expected
    else:
        same = [a.split()[0] == b.split()[0] for a, b in zip(lines, expected, strict=True)]
        assert sum(same) >= IMAGES - 2
    assert len({line.split()[0] for line in lines}) > 3, "not all the same answer"


def test_without_arguments_it_says_how_it_is_used() -> None:
    done = run_alone("classify_onnx.py")
    assert done.returncode == 1
    assert done.stderr == "usage: python classify_onnx.py MODEL.onnx IMAGE ...\n"
