"""A worker at a crawl, to be killed in mid-evaluation: `python slow_worker.py SECONDS URL`."""

import sys
import time
from typing import Any

import torch

from nas.search import evaluation_queue
from nas.training.evaluated import EvaluatedSubnets
from nas.training.worker import work

SECONDS, URL = sys.argv[1:]
quick = EvaluatedSubnets.evaluate


def slow(self: EvaluatedSubnets, genotype: Any) -> float:
    time.sleep(float(SECONDS))
    return quick(self, genotype)


if __name__ == "__main__":
    evaluation_queue.HEARTBEAT_S, evaluation_queue.GRACE_S = 1, 3
    EvaluatedSubnets.evaluate = slow  # type: ignore[method-assign]
    torch.set_num_threads(1)
    print(work(URL))
