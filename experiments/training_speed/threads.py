"""What waiting threads cost on a busy machine: a training step by one and two threads and several ways to wait.

libgomp, torch's OpenMP on Linux, reads its settings when it is loaded, so every way is a process of its own.
"""

import json
import os
import subprocess
import sys
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from experiments.training_speed.work import optimizer_of
from nas.supernet import Subnet
from search_spaces import get_space

WAYS: dict[str, tuple[int, dict[str, str]]] = {
    "1 thread": (1, {}),
    "2 threads, spinning 300,000 times (libgomp's default)": (2, {}),
    "2 threads, spinning 10,000 times": (2, {"GOMP_SPINCOUNT": "10000"}),
    "2 threads, spinning 2,000 times": (2, {"GOMP_SPINCOUNT": "2000"}),
    "2 threads, never spinning": (2, {"OMP_WAIT_POLICY": "PASSIVE"}),
}
STEPS = 2


def threads(rounds: int) -> pd.DataFrame:
    """Seconds of a step of the max net (32 pixels, batch 64) by the clock and of CPU, the ways in turns."""
    processes = []
    for count, settings in WAYS.values():
        kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
        command = [sys.executable, "-m", __name__, str(count)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept | settings
        )
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        processes.append((process.stdin, process.stdout))
    seconds = np.zeros((rounds, len(WAYS), 2))
    for i in range(rounds):
        for way in np.roll(np.arange(len(WAYS)), i):
            order, answer = processes[way]
            order.write("\n")
            order.flush()
            seconds[i, way] = json.loads(answer.readline())
    for order, _ in processes:
        order.close()
    table = pd.DataFrame(np.median(seconds, axis=0).round(3), columns=["seconds", "cpu_seconds"])
    table.insert(0, "way", list(WAYS))
    return table.assign(load_average=round(os.getloadavg()[0], 1))


def _answer(count: int) -> None:
    """Take some steps and print the seconds of one, for every line that comes in."""
    torch.set_num_threads(count)
    space = get_space("mobilenet_v3_small_images")
    net = Subnet(space, space.max).to(memory_format=torch.channels_last).train()
    optimizer = optimizer_of(net, 0.0)
    images = torch.randn(64, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, space.num_classes, (64,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(net(images), labels).backward()
        optimizer.step()

    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        clock, cpu = perf_counter(), process_time()
        for _ in range(STEPS):
            step()
        print(json.dumps([(perf_counter() - clock) / STEPS, (process_time() - cpu) / STEPS]), flush=True)


if __name__ == "__main__":
    _answer(int(sys.argv[1]))
