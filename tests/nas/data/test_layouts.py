"""Folders as cameras, tools and colleagues leave them: splits and classes are found, or refused with both readings."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pictures import names, photo, photos, read
from PIL import Image


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "dev", "TEST"),
        ("seg_train", "seg_val", "seg_test"),
        ("train2017", "val2017", "test2017"),
        ("01-train", None, "01-test"),
        ("train", "val", None),
        ("training_set", None, "test_set"),
        ("trainset", None, "testset"),
        ("TrainData", "valData", "Test Images"),
        ("trainval", None, "test"),
        ("train", None, "test1"),
        ("train_1", "val-2", "test 3"),
    ],
)
def test_splits_by_any_usual_name(tmp_path: Path, train: str, validation: str | None, test: str | None) -> None:
    given = [split for split in (train, validation, test) if split]
    photos(tmp_path, [f"{split}/{name}" for split in given for name in ("cat", "dog")])
    data, _ = read(tmp_path)
    assert data.classes == ("cat", "dog")
    for folder, split in ((validation, data.validation), (test, data.test)):
        assert all(name.startswith(f"{folder or train}/") for name in split.names)
        assert len(split) == (10 if folder else 2)
    assert all(name.startswith(f"{train}/") for name in data.train.names)


def test_one_level_deeper_in_a_single_folder(tmp_path: Path) -> None:
    photos(tmp_path / "archive" / "pets", ["seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a",
                                           "seg_test/seg_test/b", "seg_pred/seg_pred"])  # fmt: skip
    data, said = read(tmp_path)
    assert (data.classes, len(data.test)) == (("a", "b"), 10)
    assert "left out: 5 images in seg_pred/, beside the splits" in said
    assert "read from archive/pets/" in said
    photos(tmp_path / "single" / "train", ["a", "b"])
    assert read(tmp_path / "single")[0].classes == ("a", "b")


def test_a_class_that_is_called_train_is_a_class(tmp_path: Path) -> None:
    photos(tmp_path, ["car", "plane", "train"])
    assert read(tmp_path)[0].classes == ("car", "plane", "train")
    photos(tmp_path / "nested", ["car/old", "car/new", "train/steam", "train/electric"])
    assert read(tmp_path / "nested")[0].classes == ("car", "train")
    photos(tmp_path / "words", ["bus_station", "train_station", "test_tube", "evaluation_board"])
    assert len(read(tmp_path / "words")[0].classes) == 4


def test_folders_in_classes_are_parts_of_them_and_equal_ones_are_said(tmp_path: Path) -> None:
    photos(tmp_path, [f"{animal}/{year}" for animal in ("bird", "cat", "dog") for year in (2019, 2020)])
    data, said = read(tmp_path)
    assert data.classes == ("bird", "cat", "dog")
    assert "careful: the classes are the folders bird, cat, dog, which have the same folders in them" in said
    assert "if the classes are these (2019, 2020), put the images of each into one folder" in said
    photos(tmp_path / "other", ["cat/2019", "cat/2020", "dog/2019", "dog/2021"])
    assert "careful" not in read(tmp_path / "other")[1]


def test_splits_within_each_class(tmp_path: Path) -> None:
    photos(tmp_path, ["a/train", "a/test", "b/train", "b/test"])
    data, _ = read(tmp_path)
    assert data.classes == ("a", "b")
    assert all("/test/" in name for name in data.test.names)
    assert len(data.test) == 10


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["train", "test"], "can be read in two ways: train/ and test/ as splits, .* or as classes of their own"),
        (["training", "testing", "other"], "can be read in two ways: training/ and testing/ as splits"),
        (["train/a", "train/b", "test"], "two ways: .* the images in test/ have no class folders"),
        (["train/a", "train/b", "test/c", "test/d", "car/x"], "two ways: .* with car/ beside them"),
        (["a/train", "a/test", "b"], "two ways: a/train/ and a/test/ as splits of the class"),
        (["val/a", "val/b", "test/a", "test/b"], "has val/ and test/ but no folder for training"),
        (["train/a", "train/b", "eval/a", "eval/b"], "two ways: train/ and eval/ as splits .* name the splits train/"),
        (["train", "evaluation"], "two ways: train/ and evaluation/ as splits"),
        (["train/a", "train/b", "test1/a", "test1/b", "test2/a", "test2/b"], "two ways: train/ and test1/ as splits"),
        (["train1", "train2", "test"], "two ways: train1/ and test/ as splits"),
        (["trainA", "trainB", "testA", "testB"], "two ways: trainA/ and testA/ as splits"),
        (["seg_train/a", "seg_train/b", "seg_eval/a"], "two ways: seg_train/ and seg_eval/ as splits"),
        (["train/a", "train/b", "more/a", "more/b"], "two ways: train/ and more/ as splits with the same classes"),
        (["train/x/a", "train/x/b", "more/x/a", "more/x/b"], "two ways: train/ and more/ as splits"),
        (["train/a", "train/b", "test/a", "test/c"], "test/ .* has classes that train/ lacks: c; add images of them"),
    ],
)
def test_ambiguous_layouts_are_refused(tmp_path: Path, folders: list[str], message: str) -> None:
    photos(tmp_path, folders)
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


def test_a_split_may_lack_classes_and_that_is_said(tmp_path: Path) -> None:
    photos(tmp_path, ["train/a", "train/b", "train/c", "val/a", "val/c", "test/b", "test/c"])
    data, said = read(tmp_path)
    assert data.classes == ("a", "b", "c")
    assert sorted(set(data.validation.labels.tolist())) == [0, 2]
    assert sorted(set(data.test.labels.tolist())) == [1, 2]
    assert "val/ lacks 1 of 3 classes (b): accuracies on its images say nothing about them" in said
    assert "test/ lacks 1 of 3 classes (a)" in said


def test_what_is_no_data_is_no_data(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"])
    before = read(tmp_path)[0]
    for folder in ("a/.ipynb_checkpoints", "a/deep/@eaDir", "__MACOSX/a", ".git", "b/__pycache__"):
        shutil.copytree(tmp_path / "a", tmp_path / folder / "copy")
    (tmp_path / "a" / "._0.png").write_bytes(b"\0\5\x16\7 a Mac's notes")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"thumbs")
    after, said = read(tmp_path)
    assert names(after) == names(before)
    assert after.fingerprint == before.fingerprint
    assert "skipped" not in said
    assert "left out" not in said


def test_suffixes_that_pillow_opens_are_read_and_others_counted(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"])
    with Image.open(photo(tmp_path / "spare.png", 99)) as picture:
        kinds = ("jfif", "JPG", "avif", "jp2", "pgm", "tga", "webp", "tif", "bmp", "qoi", "ppm")
        for number, suffix in enumerate(kinds):
            shifted = picture.rotate(10 * number)
            (shifted.convert("L") if suffix == "pgm" else shifted).save(tmp_path / "a" / f"x.{suffix}")
        picture.rotate(180).save(tmp_path / "a" / "no_suffix", format="png")
    (tmp_path / "spare.png").unlink()
    for name in ("a/1.heic", "a/2.HEIC", "b/notes.txt", "b/README", "b/drawing.svg"):
        (tmp_path / name).write_text("no picture")
    data, said = read(tmp_path)
    assert len(names(data)) == 10 + len(kinds) + 1
    assert "not read as images: 2 .heic, " in said
    assert all(f"1 {what}" in said for what in (".txt", ".svg", "without a suffix"))
    assert "pip install pillow-heif" in said


def test_a_class_of_files_that_are_not_read_is_refused(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "1.heic").write_text("photo")
    with pytest.raises(ValueError, match=r"c has no images that can be read \(it holds 1 \.heic \(pip install"):
        read(tmp_path)


def test_links_are_followed_once_and_loops_are_not(tmp_path: Path) -> None:
    elsewhere = photos(tmp_path / "elsewhere", ["no", "nor", "more"])
    root = photos(tmp_path / "root", ["a", "b"])
    photo(tmp_path / "single.png", 77)
    (root / "a" / "linked").symlink_to(elsewhere / "more")
    (root / "a" / "again").symlink_to(elsewhere / "more")
    (root / "a" / "single.png").symlink_to(tmp_path / "single.png")
    (root / "a" / "self.png").symlink_to(root / "a" / "0.png")
    (root / "a" / "loop").symlink_to(root / "a")
    (root / "b" / "up").symlink_to(tmp_path)
    (root / "b" / "broken.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(root / "b" / "pipe.png")
    data, said = read(root)
    counts = sum(data.class_counts.values())
    assert counts.tolist() == [5 + 5 + 1, 5]
    assert "1 broken links" in said
    assert "1 special files" in said


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"])
    os.rename(tmp_path / "b", os.fsencode(tmp_path) + b"/caf\xe9")
    data, _ = read(tmp_path)
    assert data.classes == ("a", "café")
    for name in names(data):
        name.encode("utf-8")


def test_copies_stay_in_the_first_split(tmp_path: Path) -> None:
    photos(tmp_path, [f"{split}/{name}" for split in ("train", "val", "test") for name in ("a", "b")])
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "val" / "a" / "copy.png")
    with Image.open(tmp_path / "val" / "b" / "1.png") as picture:  # another file of the same pixels
        picture.save(tmp_path / "test" / "b" / "copy.bmp")
    data, said = read(tmp_path)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [10, 10, 10]
    assert "copies of images in another split (training, search-validation, test): 2;" in said
    assert "val/a/copy.png" in said
    shutil.rmtree(tmp_path / "test")
    shutil.copytree(tmp_path / "train", tmp_path / "test")
    with pytest.raises(ValueError, match="no image of class 'a' is left for the test split"):
        read(tmp_path)


def test_copies_are_found_where_the_seed_splits(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"], n=12)
    for i in range(12):
        shutil.copy(tmp_path / "a" / f"{i}.png", tmp_path / "a" / f"{i} (1).png")
    data, said = read(tmp_path)
    assert sum(data.class_counts.values())[0] == 12 + data.class_counts["train"][0] // 2
    parts = [set(map(bytes, split.images.numpy())) for split in (data.train, data.validation, data.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert "copies of images" in said


@pytest.mark.parametrize(
    ("level", "message"),
    [((0, 0, 0), "all training images are alike"), ((20, 20, 20), "only the darkest"), ((255, 0, 0), "green and blue")],
)
def test_degenerate_statistics_are_said(tmp_path: Path, level: tuple[int, int, int], message: str) -> None:
    for folder in ("train/a", "train/b", "val/a", "val/b", "test/a", "test/b"):
        for i in range(3):
            path = photo(tmp_path / folder / f"{i}.png", hash((folder, i)) % 2**32)
            with Image.open(path) as picture:
                dark = Image.fromarray((np.asarray(picture) * (np.array(level) / 255)).astype(np.uint8))
            if folder.startswith("train") or level != (0, 0, 0):
                dark.save(path)
    assert message in read(tmp_path)[1]


def test_images_beside_a_folder_around_the_classes_are_counted(tmp_path: Path) -> None:
    photos(tmp_path / "around" / "defects", ["scratch", "dent"])
    for i in range(3):
        photo(tmp_path / f"loose{i}.png", 300 + i)
    photo(tmp_path / "around" / "loose.png", 310)
    assert "left out: 4 images outside any class folder" in read(tmp_path)[1]


def test_copies_are_not_counted_as_images_of_a_small_class(tmp_path: Path) -> None:
    photos(tmp_path, ["a", "b"])
    shutil.rmtree(tmp_path / "b")
    photo(tmp_path / "b" / "0.png", 400)
    for i in (1, 2):
        shutil.copy(tmp_path / "b" / "0.png", tmp_path / "b" / f"{i}.png")
    with pytest.raises(ValueError, match="class 'b' has 1 different image and 2 that are copies; splitting needs"):
        read(tmp_path)


def test_copies_in_two_classes_are_said(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("val", 500), ("test", 600)):
        for label in "ab":
            for i in range(3):
                photo(tmp_path / split / label / f"{i}.png", first + i + 10 * (label == "b"))
    assert "in several classes" not in read(tmp_path)[1]
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "train" / "a" / "same.png")
    assert "in several classes" not in read(tmp_path)[1]
    shutil.copy(tmp_path / "train" / "a" / "1.png", tmp_path / "train" / "b" / "other.png")
    said = read(tmp_path)[1]
    assert "careful: 2 images are copies of each other in several classes" in said
    assert "the first: train/a/1.png" in said
