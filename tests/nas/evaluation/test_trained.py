"""A supernet is opened with the images that it was trained on, or what differs is said."""

from pathlib import Path

import pytest
from pictures import photos
from tiny_run import tiny_recipe, tiny_supernet

from nas.data import DataSettings, load_data
from nas.evaluation.trained import TrainedSupernet
from nas.training import train


def test_images_that_are_others_by_memory_alone_are_explained(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", ["a", "b", "c"], n=10)
    (root / "a" / "broken.png").write_bytes(b"no picture")
    settings = DataSettings("folder", str(root), resolution=16)
    about = {"data_settings": settings.portable()}
    train(tiny_supernet(), load_data(settings), tiny_recipe(epochs=1), tmp_path / "run", device="cpu", about=about)
    TrainedSupernet.open(tmp_path / "run")
    with pytest.raises(
        ValueError, match=r"it had 30 images, now there are 31, perhaps by data\.memory_gb.*leave data\.memory_gb out"
    ):
        TrainedSupernet.open(tmp_path / "run", {"memory_gb": 0.0, "workers": 0})
    (root / "a" / "broken.png").unlink()
    with pytest.raises(ValueError, match="contents, classes or splits differ") as error:
        TrainedSupernet.open(tmp_path / "run")
    assert "memory_gb" not in str(error.value)


def test_a_search_whose_images_have_moved_is_told_how_to_say_where_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in .*gone'? any more; .*: nas search --resume RUN --data FOLDER"):
        TrainedSupernet.of_search({"supernet": "cifar10", "moved_data": {"root": str(tmp_path / "gone")}})
