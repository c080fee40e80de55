"""`nas train`: a supernet from images."""

import shlex

from nas.cli.call import Call
from nas.cli.config import TrainConfig
from nas.cli.console import remarks, track
from nas.pipeline.run_folder import say_folder
from nas.pipeline.train import train_supernet
from nas.progress import Listener


def run(config: TrainConfig, call: Call) -> int:
    """Train into the run folder and say what to type next."""
    listener = Listener(say=remarks.print, track=track)
    say_folder(call.folder, listener)
    train_supernet(config, call.folder, listener)
    words = ["nas", "search", "--supernet", str(call.folder), "--device", "cpu", "--latency", "60%"]
    remarks.print(f"supernet: {call.folder}\nnext:     {shlex.join(words)}")
    return 0
