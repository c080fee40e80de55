"""How fast 224-pixel images come from a folder of JPEG files, beside how fast a training step wants them."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from nas.data.storage import temporary_folder
from PIL import Image

from experiments.training_speed.work import Step, recipe
from nas.data import ImageData, load_data, prepare
from nas.supernet import Supernet
from nas.training.augmentation import Flip, PadCrop
from nas.training.augmentation.augmenter import Augmenter
from search_spaces import get_space

RESOLUTION, BATCH, N_IMAGES, N_CLASSES = 224, 32, 1000, 10


def photographs(folder: Path) -> None:
    """JPEG files of 500 x 375 pixels, about 90 KB each: smooth colours and some noise."""
    rng = np.random.default_rng(0)
    for i in range(N_IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)).astype(np.int16)
        pixels = np.clip(smooth + rng.integers(-20, 21, (375, 500, 1)), 0, 255).astype(np.uint8)
        path = folder / f"class{i % N_CLASSES}" / f"{i:04d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def images(rounds: int) -> pd.DataFrame:
    """Images a second of one core, by CPU time; reading from disk by the clock, of which nothing is CPU time."""
    rows: list[dict[str, object]] = []

    def timed(what: str, n: int, work: Callable[[], object], times: int = 1, clock: bool = False) -> None:
        now, seconds = perf_counter if clock else process_time, []
        for _ in range(times):
            began = now()
            work()
            seconds.append(now() - began)
        rows.append({"what": what, "images_per_second": round(n / float(np.median(seconds)), 1)})
        print(rows[-1], flush=True)

    with tempfile.TemporaryDirectory() as folder:
        photographs(Path(folder))
        read: list[ImageData] = []
        for name, memory_gb in (("memory", None), ("a file", 0.0)):
            settings = {"root": folder, "resolution": RESOLUTION, "memory_gb": memory_gb}
            timed(f"decoded into {name}", N_IMAGES, lambda s=settings: read.append(load_data("folder", **s)))
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    for name, data in zip(("memory", "a file"), read, strict=True):

        def batch(data: ImageData = data) -> None:
            rows = torch.from_numpy(rng.permutation(len(data.train))[:BATCH])
            augment = Augmenter((PadCrop(padding=4), Flip()), data)
            images, _ = augment(data.train.images[rows], data.train.labels[rows], generator)
            prepare(images, RESOLUTION, data.mean, data.std)

        timed(f"a batch from {name}, augmented and normalised", BATCH, batch, 10 * rounds)
    with _cold(read[1]) as work:
        timed("a batch from a file, none of it in memory, by the clock", BATCH, work, rounds, clock=True)
    torch.manual_seed(0)
    space = get_space("mobilenet_v3", resolutions=(RESOLUTION,), num_classes=N_CLASSES)
    for phase, name in ((0, "a step of the max net"), (-1, "a step of four subnets")):
        step = Step(Supernet(space), read[1], recipe("delayed_sandwich", BATCH), phase)
        timed(f"{name} (mobilenet_v3)", BATCH, step(0), max(1, rounds // 5))
    return pd.DataFrame(rows)


@contextmanager
def _cold(data: ImageData) -> Iterator[Callable[[], object]]:
    """Reads a random batch from a file whose pages the system has been told to forget."""
    pixels = data.train.images.numpy()
    with tempfile.TemporaryFile(dir=temporary_folder()) as file:
        file.write(pixels.tobytes())
        file.flush()
        os.fsync(file.fileno())
        rng = np.random.default_rng(0)

        def read() -> None:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            stored = torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r+", shape=pixels.shape))
            stored[torch.from_numpy(rng.permutation(len(stored))[:BATCH])]

        yield read
