"""A run of one epoch for torchrun, in which process 1 kills itself once: `torchrun ... distributed_run.py FOLDER`."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from tiny_run import tiny_recipe, tiny_run

from nas.training import Recipe, Trainer


def one_epoch() -> Recipe:
    """Five steps of everything that processes have to agree on."""
    phase = {"name": "all", "share": 1.0, "sampler": "sandwich", "n_random": 1, "target": "max_net"}
    return tiny_recipe(epochs=1, phases=[phase], dropout=0.1, clip_norm=1.0, ema=0.5)


if __name__ == "__main__":
    quick = Trainer.train_step

    def deadly(self: Trainer, step: int) -> dict[str, Any]:
        if step == 3 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return quick(self, step)

    Trainer.train_step = deadly  # type: ignore[method-assign]
    torch.set_num_threads(1)
    # Names that differ by process, as run folders with the time in their names may.
    folder = Path(sys.argv[1]) / ("run" if os.environ["RANK"] == "0" else "other")
    tiny_run(folder, recipe=one_epoch())
