"""A supernet is opened with the images that it was trained on, or what differs is said."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import photos
from PIL import Image
from tiny_run import tiny_recipe, tiny_supernet

from nas.data import DataSettings, load_data
from nas.evaluation.trained import TrainedSupernet
from nas.supernet import save_supernet
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


def test_deep_images_keep_the_range_of_the_training(tmp_path: Path) -> None:
    def write(root: Path, most: int) -> DataSettings:
        for label in "abc":
            for i in range(10):
                values = np.random.default_rng([ord(label), i]).random((16, 16)) * most
                (root / label).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values.astype(np.uint16)).save(root / label / f"{i}.png")
        return DataSettings("folder", str(root), resolution=16)

    settings = write(tmp_path / "photos", 4000)
    images = load_data(settings)
    card = {"mean": images.mean, "std": images.std, "data": {"fingerprint": images.fingerprint}}
    told = settings.portable()
    save_supernet(tmp_path / "run", tiny_supernet(), card | {"data_settings": told | {"value_range": [0, 4095]}})
    save_supernet(tmp_path / "old", tiny_supernet(), card | {"data_settings": told, "data": {"fingerprint": "before"}})
    moved = shutil.copytree(tmp_path / "photos", tmp_path / "moved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.data.pictures.depth_of", lambda _: pytest.fail("found again"))
        opened = TrainedSupernet.open(tmp_path / "run", {"root": str(moved)})
    assert opened.data.value_range == (0, 4095)
    assert opened.data.fingerprint == images.fingerprint
    with pytest.raises(ValueError, match=r"other values .* \(data\.value_range\); train anew"):
        TrainedSupernet.open(tmp_path / "old")


def test_a_search_whose_images_have_moved_is_told_how_to_say_where_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not in .*gone'? any more; .*: nas search --resume RUN --data FOLDER"):
        TrainedSupernet.of_search({"supernet": "cifar10", "moved_data": {"root": str(tmp_path / "gone")}})
