"""Whether `torch.compile` pays: the max net as a plain network, compiled and not."""

import os
from collections.abc import Callable

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from experiments.training_speed.measure import compared, in_turns
from experiments.training_speed.work import optimizer_of
from nas.supernet import Subnet
from search_spaces import get_space

BATCH = 64


def compiled(rounds: int) -> pd.DataFrame:
    """One step of forward, cross-entropy, backward and update at 32 pixels, and what compiling it takes."""
    space = get_space("mobilenet_v3_small_images")
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, space.num_classes, (BATCH,))

    def step_of(net: nn.Module, run: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[], None]:
        optimizer = optimizer_of(net, 0.0)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(run(images), labels).backward()
            optimizer.step()

        return step

    nets = [Subnet(space, space.max).to(memory_format=torch.channels_last).train() for _ in range(2)]
    eager, fast = step_of(nets[0], nets[0]), step_of(nets[1], torch.compile(nets[1]))
    began = sum(os.times()[:4])  # with the compiler's own processes
    fast()
    seconds = sum(os.times()[:4]) - began
    works = {"compiled": lambda i: fast, "as it is": lambda i: eager}
    return pd.DataFrame(
        [compared("max net", "compiled", "as it is", in_turns(works, rounds)) | {"to_compile": round(seconds)}]
    )
