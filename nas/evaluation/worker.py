"""Evaluating subnets for searches that run elsewhere: what `nas worker` does.

A worker takes no part in choosing; it may come and go at any time.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.evaluation.queue import POLL_S, EvaluationQueue, open_storage
from nas.evaluation.trained import TrainedSupernet
from nas.progress import SILENT, Listener
from nas.signals import Interruption


def work(
    storage: str,
    supernet: Path | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    idle_s: float = 600,
    listener: Listener = SILENT,
) -> int:
    """Evaluate what waits in a storage until nothing has waited for a while.

    A first Ctrl-C or SIGTERM lets the evaluation in hand be finished; a second ends it, and hands the subnet back.

    Parameters
    ----------
    storage : URL of the database.
    supernet : folder of the supernet; by default where the search found it.
    data : settings of its images, if they are elsewhere than at its training.
    idle_s : seconds without work after which the worker leaves.
    listener : is told how it goes.

    Returns
    -------
    How many subnets were evaluated.

    Raises
    ------
    ValueError : the supernet or the images are not those of any search in the storage.
    """
    database = open_storage(storage)
    own = None if supernet is None else TrainedSupernet.open(supernet, data)
    there = [queue.supernet for queue in EvaluationQueue.all(database)]
    if own is not None and there and own.evaluated.identity.study not in {supernet.study for supernet in there}:
        own.evaluated.identity.check(there[0])
    evaluated, since = 0, time.monotonic()
    trained = own
    with Interruption() as interruption:
        while interruption.noted is None and time.monotonic() - since < idle_s:
            queues = [queue for queue in EvaluationQueue.all(database) if queue.waiting()]
            if own is not None:
                queues = [queue for queue in queues if queue.supernet.study == own.evaluated.identity.study]
            if not queues:
                time.sleep(POLL_S)
                continue
            queue = queues[0]
            if trained is None or trained.evaluated.identity.study != queue.supernet.study:
                trained = TrainedSupernet.open(Path(queue.supernet.folder), data)
                trained.evaluated.identity.check(queue.supernet)
            while interruption.noted is None and (claim := queue.claim()) is not None:
                genotype = trained.space.parse(claim.architecture)
                with queue.held(claim):
                    accuracy = trained.evaluated.evaluate(genotype)
                queue.finish(claim, accuracy, int(trained.space.costs(genotype[None]).macs[0]))
                evaluated, since = evaluated + 1, time.monotonic()
                listener.say(f"{accuracy:.2%}  {claim.architecture}")
    return evaluated
