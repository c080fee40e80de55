"""Evaluating subnets for searches that run elsewhere: what `nas worker` does.

A worker does not choose networks; it may start and stop at any time.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.evaluation.queue import POLL_S, EvaluationQueue
from nas.evaluation.storage import Database
from nas.evaluation.trained import TrainedSupernet
from nas.progress import SILENT, Listener
from nas.signals import Interruption

LONGEST_IDLE_S = 30 * 24 * 3600


def work(
    storage: str,
    supernet: Path | None = None,
    data: Mapping[str, Any] | None = None,
    *,
    idle_s: float = 600,
    listener: Listener = SILENT,
) -> int:
    """Evaluate what waits in a storage until nothing has waited for a while.

    A first Ctrl-C or SIGTERM lets the current evaluation finish; a second stops it, and the subnet waits again.

    Parameters
    ----------
    storage : URL of the database.
    supernet : folder of the supernet; by default where the search found it.
    data : settings of its images, if they are elsewhere than at its training.
    idle_s : seconds without work after which the worker ends, at most 30 days.
    listener : is told each accuracy, and when the database is waited for.

    Returns
    -------
    How many subnets were evaluated.

    Raises
    ------
    ValueError : `idle_s` is out of range, or the supernet or the images are not those of any search in the storage.
    Failure : the database does not answer.
    """
    if not 0 <= idle_s <= LONGEST_IDLE_S:
        raise ValueError(f"idle_s must be 0 to {LONGEST_IDLE_S} seconds (30 days), got {idle_s:g}")
    database = Database(storage, listener)
    own = None if supernet is None else TrainedSupernet.open(supernet, data)
    there = [queue.supernet for queue in EvaluationQueue.all(database)]
    if own is not None and there and not any(own.evaluated.identity.same_as(wanted) for wanted in there):
        own.evaluated.identity.check(there[0])
    evaluated, since = 0, time.monotonic()
    trained = own
    with Interruption() as interruption:
        database.between_tries = interruption.obey
        while interruption.noted is None and time.monotonic() - since < idle_s:
            queues = [queue for queue in EvaluationQueue.all(database) if queue.waiting()]
            if own is not None:
                queues = [queue for queue in queues if own.evaluated.identity.same_as(queue.supernet)]
            if not queues:
                time.sleep(POLL_S)
                continue
            queue, wanted = queues[0], queues[0].supernet
            if trained is None or trained.evaluated.identity.study != wanted.study:
                folder = Path(wanted.folder) if supernet is None else supernet
                trained = TrainedSupernet.open(folder, data, objective=wanted.objective)
                trained.evaluated.identity.check(wanted)
            while interruption.noted is None and (claim := queue.claim()) is not None:
                genotype = trained.space.parse(claim.architecture)
                with queue.held(claim):
                    found = trained.evaluated.evaluate(genotype)
                queue.finish(claim, found, int(trained.space.costs(genotype[None]).macs[0]))
                evaluated, since = evaluated + 1, time.monotonic()
                listener.say(f"{found.accuracy:.2%}  {claim.architecture}")
    return evaluated
