"""`--cfg job` says which of the settings that it shows a run on these images does not take."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.cli.main import main
from nas.cli.settled import what_follows
from nas.shipped.pretrained import pretrained

needs_weights = pytest.mark.skipif(not pretrained("efficientnet_lite0").installed, reason="needs the extra pretrained")


def pictures(root: Path, side: int) -> str:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((side, side, 3), i, dtype=np.uint8)).save(root / name / f"{i}.png")
    return str(root)


@needs_weights
@pytest.mark.parametrize("verb", ["search", "train"])
def test_what_photographs_change_is_said(verb: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--data", pictures(tmp_path, 200), "--cfg", "job"]) == 0
    shown = capfd.readouterr()
    assert "init: null" in shown.out
    (said,) = [line for line in shown.err.splitlines() if line.startswith("in place of what is shown, the run takes: ")]
    words = said.partition(": ")[2].split(" ")
    assert {"recipe=adapt", "init=efficientnet_lite0", "space.name=efficientnet_lite0", "train_time=8min"} <= {*words}
    assert ("evaluations=24" in words) == ("finetune_time=60%" in words) == (verb == "search")
    assert "photographs (200 px): starts from" in shown.err


@needs_weights
def test_what_was_typed_is_not_changed(tmp_path: Path) -> None:
    data = ["data=folder", f"data.root={pictures(tmp_path, 200)}"]
    said = what_follows("search", [*data, "evaluations=50", "train_time=3min", "recipe.epochs=3"])
    assert "init=efficientnet_lite0" in said
    assert not any(word in said for word in ("evaluations=", "train_time=", "recipe.epochs="))


def test_where_nothing_changes_nothing_is_said(tmp_path: Path) -> None:
    small = ["data=folder", f"data.root={pictures(tmp_path, 32)}"]
    assert what_follows("search", small) == what_follows("search", ["supernet=cifar10"]) == ""
    assert what_follows("search", ["data=folder", "data.root=/not/there"]) == what_follows("measure", []) == ""
