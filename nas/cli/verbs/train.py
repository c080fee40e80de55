"""`nas train`: a supernet from images."""

from pathlib import Path

from nas.cli.config import TrainConfig
from nas.cli.console import remarks
from nas.pipeline.train import train_supernet


def run(config: TrainConfig, folder: Path) -> int:
    """Train into the run folder and say what to type next."""
    train_supernet(
        folder,
        space=config.space,
        data=config.data,
        recipe=config.recipe,
        seed=config.seed,
        threads=config.threads,
        accelerator=config.accelerator,
    )
    remarks.print(f"supernet: {folder}\nnext:     nas search --supernet {folder} --device cpu --latency 60%")
    return 0
