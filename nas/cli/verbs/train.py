"""`nas train`: a supernet from images."""

import shlex

from nas.cli.call import Call
from nas.cli.config import TrainConfig
from nas.cli.console import remarks, track
from nas.pipeline.train import train_supernet
from nas.progress import Listener


def run(config: TrainConfig, call: Call) -> int:
    """Train into the run folder and say what to type next."""
    train_supernet(config, call.folder, Listener(say=remarks.print, track=track))
    words = ["nas", "search", "--supernet", str(call.folder), "--device", "cpu", "--latency", "60%"]
    remarks.print(f"supernet: {call.folder}\nnext:     {shlex.join(words)}")
    return 0
