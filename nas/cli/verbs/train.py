"""`nas train`: a supernet from images."""

from nas.cli.call import Call
from nas.cli.config import TrainConfig
from nas.cli.console import remarks, track
from nas.pipeline.train import train_supernet
from nas.progress import Listener


def run(config: TrainConfig, call: Call) -> int:
    """Train into the run folder and say what to type next."""
    train_supernet(
        call.folder,
        space=config.space,
        data=config.data,
        recipe=config.recipe,
        seed=config.seed,
        threads=config.threads,
        accelerator=config.accelerator,
        train_time=config.train_time,
        listener=Listener(say=remarks.print, track=track),
    )
    remarks.print(f"supernet: {call.folder}\nnext:     nas search --supernet {call.folder} --device cpu --latency 60%")
    return 0
