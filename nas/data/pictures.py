"""The images of a folder, split and decoded: into memory, or for reading while training where they are too many.

An image that is in two splits stays in the first. In memory images are compared by their pixels, else by their files.
"""

import hashlib
from collections.abc import Mapping
from time import perf_counter
from typing import NamedTuple

import numpy as np
import PIL
import torch
from numpy.typing import NDArray

from nas.data.cache import keep_arrays, kept_arrays
from nas.data.contents import hash_files
from nas.data.dataset import Split
from nas.data.decode import RULES
from nas.data.depth import Depth, Range, deciding, depth_of, depth_sentence
from nas.data.folder import SPLITS, Layout, SplitName, read_layout
from nas.data.resolution import resolution_sentence, side_for, typical_side
from nas.data.settings import MEMORY_GB, DataSettings
from nas.data.splits import copies, labelled_twice, missing_splits, too_few
from nas.data.streaming import Decoded, PictureFiles, StreamedImages, cores, decode_all
from nas.progress import Listener

_KEPT_FROM_S = 1.0
"""Images whose decoding took longer than this, in seconds, are kept for the next command."""
_NAMED = 3


class Pictures(NamedTuple):
    """What an image folder holds."""

    splits: dict[SplitName, Split]
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    content: str
    value_range: Range | None


class _Part(NamedTuple):
    """The files of a split."""

    paths: list[str]
    labels: NDArray[np.int64]
    hashes: NDArray[np.uint8]

    def take(self, rows: NDArray[np.int64]) -> "_Part":
        """The files at `rows`."""
        return _Part([self.paths[row] for row in rows], self.labels[rows], self.hashes[rows])


def read_pictures(settings: DataSettings, listener: Listener, largest: int | None) -> Pictures:
    """Read the folder of `settings`; see `load_data`.

    Raises
    ------
    ValueError : the folder cannot be read as classes of images, or an image cannot and ``on_unreadable`` is ``fail``.
    """
    layout = read_layout(str(settings.root))
    typical, asked = typical_side(layout), settings.resolution
    side = side_for(typical, largest, asked)
    parts, copied = _parts(layout, settings)
    n, n_classes = sum(len(part.paths) for part in parts.values()), len(layout.classes)
    listener.say(resolution_sentence(n, n_classes, typical, side, asked is not None, largest is not None))
    for remark in layout.remarks:
        listener.say(remark)
    depth = depth_of(layout) if settings.value_range is None else Depth(settings.value_range)
    if depth is not None:
        listener.say(depth_sentence(depth))
    content = hashlib.sha256()
    for part in parts.values():
        content.update(f"{len(part.paths)}\n".encode() + part.labels.tobytes() + part.hashes.tobytes())
    value_range = None if depth is None else depth.range
    if decides := deciding(value_range):
        content.update(repr(decides).encode())
    skipped: list[str] = []
    read, digests = _read(layout, parts, side, value_range, settings, listener, skipped)
    doubled = copies(digests)
    copied += [part.paths[row] for name, (part, _) in read.items() for row in np.flatnonzero(doubled[name])]
    if copied:
        listener.say(
            f"copies of images in another split (training, search-validation, test): {len(copied):,}; they are "
            f"left out, the first: {layout.name(copied[0])}"
        )
    unsure = [part.paths[row] for name, (part, _) in read.items() for row in labelled_twice(digests[name], part.labels)]
    if unsure:
        listener.say(
            f"careful: {len(unsure):,} images are copies of each other in several classes, so some of their labels are "
            f"wrong; leave each in one class; the first: {layout.name(unsure[0])}"
        )
    splits = {}
    for name, (part, images) in read.items():
        split = Split(images, torch.from_numpy(part.labels), tuple(map(layout.name, part.paths)))
        splits[name] = split.take(np.flatnonzero(~doubled[name])) if doubled[name].any() else split
        _check_classes(name, splits[name], layout)
    return Pictures(splits, layout.classes, tuple(sorted(skipped)), content.hexdigest(), value_range)


_Images = torch.Tensor | StreamedImages
_Read = dict[SplitName, tuple[_Part, _Images]]


def _parts(layout: Layout, settings: DataSettings) -> tuple[dict[SplitName, _Part], list[str]]:
    """The files of each split, and those left out as copies of files that the seed chose for another split."""
    given = {}
    for split, files in layout.files.items():
        paths = [path for of_class in files for path in of_class]
        labels = np.repeat(np.arange(len(files)), [len(of_class) for of_class in files])
        given[split] = _Part(paths, labels, hash_files(paths, layout.root))
    if len(given) == len(SPLITS):
        return given, []
    pool = given["train"]
    first: dict[bytes, int] = {}
    same_as = np.array([first.setdefault(hashed.tobytes(), row) for row, hashed in enumerate(pool.hashes)])
    alone = np.unique(same_as)
    fractions: dict[SplitName, float] = {"validation": settings.validation_fraction, "test": settings.test_fraction}
    least = len(SPLITS) - len(given) + 1
    counts = (np.bincount(labels, minlength=len(layout.classes)) for labels in (pool.labels[alone], pool.labels))
    for name, n, n_all in zip(layout.classes, *counts, strict=True):
        if n < min(least, n_all):
            raise too_few(name, int(n), least, int(n_all - n))
    labels_of = {split: part.labels for split, part in given.items()} | {"train": pool.labels[alone]}
    origin = missing_splits(labels_of, fractions, settings.seed, layout.classes)
    rows = {split: alone[chosen] for split, (source, chosen) in origin.items() if source == "train"}
    rows["train"] = np.flatnonzero(np.isin(same_as, rows["train"]))  # copies beside each other do no harm
    left_out = np.setdiff1d(np.arange(len(pool.paths)), np.concatenate(list(rows.values())))
    parts = {split: pool.take(rows[split]) if split in rows else given[split] for split in SPLITS}
    return parts, [pool.paths[row] for row in left_out]


def _read(
    layout: Layout,
    parts: Mapping[SplitName, _Part],
    side: int,
    value_range: Range | None,
    settings: DataSettings,
    listener: Listener,
    skipped: list[str],
) -> tuple[_Read, dict[SplitName, NDArray[np.uint8]]]:
    """Each split with what is left of its files, and digests of its images."""
    gb = {split: len(part.paths) * 3 * side**2 / 1e9 for split, part in parts.items()}
    limit = MEMORY_GB if settings.memory_gb is None else settings.memory_gb
    workers, skip = cores() if settings.workers is None else settings.workers, settings.on_unreadable == "skip"
    whole = sum(gb.values()) <= limit
    if not whole:
        listener.say(
            f"decoded, the images need {sum(gb.values()):.1f} GB, more than data.memory_gb={limit:g}: "
            f"they are read from their files while training"
        )
    read: _Read = {}
    digests = {}
    faults: list[tuple[str, str]] = []
    for split, part in parts.items():
        files = PictureFiles(part.paths, side, value_range)
        # Every network that is evaluated reads the validation split again.
        if whole or (split == "validation" and gb[split] <= limit / 3):
            decoded = _decoded(files, part, workers, listener)
            good = np.setdiff1d(np.arange(len(files)), list(decoded.faults))
            faults += [(part.paths[row], fault) for row, fault in decoded.faults.items()]
            pixels = torch.from_numpy(decoded.pixels if not decoded.faults else decoded.pixels[good])
            part = part.take(good)
            read[split], digests[split] = (part, pixels), decoded.digests[good]
        else:
            read[split] = part, StreamedImages(files, part.labels, workers, skip, listener)
            digests[split] = part.hashes
    if not whole:  # digests of one kind
        digests = {split: part.hashes for split, (part, _) in read.items()}
    if faults:
        faults.sort()
        if not skip:
            raise ValueError(f"the image {layout.name(faults[0][0])} cannot be read: {faults[0][1]}")
        named = ", ".join(f"{layout.name(path)} ({fault})" for path, fault in faults[:_NAMED])
        n = sum(len(part.paths) for part in parts.values())
        listener.say(f"skipped {len(faults):,} of {n:,} images that cannot be read: {named}")
        skipped += [layout.name(path) for path, _ in faults]
    return read, digests


def _decoded(files: PictureFiles, part: _Part, workers: int, listener: Listener) -> Decoded:
    """All pictures of a split, from an earlier command where that has kept them."""
    facts = hashlib.sha256(f"{RULES} {PIL.__version__} {files.side} ".encode())
    if files.value_range is not None:
        facts.update(repr(files.value_range).encode())
    facts.update(part.hashes.tobytes())
    key = facts.hexdigest()[:40]
    shape = (len(files), 3, files.side, files.side)
    kept = kept_arrays(key)
    if kept is not None and kept.keys() >= {"pixels", "digests"} and kept["pixels"].shape == shape:
        return _tried_again(files, Decoded(kept["pixels"], kept["digests"], {}), kept.get("unread"))
    began = perf_counter()
    with listener.track("decoding images") as done:
        decoded = decode_all(files, workers, done)
    if perf_counter() - began > _KEPT_FROM_S:
        unread = {"unread": np.array(sorted(decoded.faults))} if decoded.faults else {}
        keep_arrays(key, {"pixels": decoded.pixels, "digests": decoded.digests, **unread})
    return decoded


def _tried_again(files: PictureFiles, kept: Decoded, unread: NDArray[np.int64] | None) -> Decoded:
    """What was kept, with the files that could not be read then: perhaps they can be now."""
    if unread is None:
        return kept
    again = files.__getitems__(unread.tolist())
    kept.pixels[unread], kept.digests[unread] = again.pixels, again.digests
    return Decoded(kept.pixels, kept.digests, {int(unread[place]): fault for place, fault in again.faults.items()})


def _check_classes(name: SplitName, split: Split, layout: Layout) -> None:
    counts = np.bincount(split.labels.numpy(), minlength=len(layout.classes))
    had = layout.files.get(name, layout.files["train"])
    if gone := [label for label, files, n in zip(layout.classes, had, counts, strict=True) if files and not n]:
        raise ValueError(
            f"no image of class {gone[0]!r} is left for the {name} split: those that it had cannot be read, or are "
            "copies of images in an earlier split; add images of the class"
        )
