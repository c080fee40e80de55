"""Evaluating subnets for searches that run elsewhere: what `nas worker` does.

A worker does not choose networks; it may start and stop at any time.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.evaluation.queue import POLL_S, EvaluationQueue, SupernetIdentity
from nas.evaluation.storage import Database
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

    After Ctrl-C or SIGTERM the current evaluation has a second to finish (`nas.signals.PATIENCE_S`), after a second one
    of them none; a subnet whose evaluation was given up waits again.

    Parameters
    ----------
    storage : URL of the database.
    supernet : folder of the supernet; by default where the search found it.
    data : settings of its images that are others than at its training, like where they are.
    idle_s : seconds without work after which the worker ends.
    listener : is told each accuracy, which searches are left out, and when the database is waited for.

    Returns
    -------
    How many subnets were evaluated.

    Raises
    ------
    ValueError : the supernet or the images are not those of any search in the storage, or nothing was evaluated because
        those of each search that had work could not be read.
    Failure : the database does not answer.
    """
    database = Database(storage, listener)
    own = None if supernet is None else TrainedSupernet.open(supernet, data)
    there = [queue.supernet for queue in EvaluationQueue.all(database)]
    if not there:
        listener.say(f"no search has used the storage {database.name} yet; waiting {idle_s:g} s for one")
    if own is not None and there and not any(own.evaluated.identity.same_as(wanted) for wanted in there):
        own.evaluated.identity.check(there[0])
    evaluated, since = 0, time.monotonic()
    trained = own
    refused: dict[SupernetIdentity, ValueError] = {}
    with Interruption() as interruption:
        database.between_tries = interruption.obey
        while interruption.noted is None and time.monotonic() - since < idle_s:
            queues = [queue for queue in EvaluationQueue.all(database) if queue.waiting()]
            if own is not None:
                queues = [queue for queue in queues if own.evaluated.identity.same_as(queue.supernet)]
            queues = [queue for queue in queues if queue.supernet not in refused]
            if not queues:
                time.sleep(POLL_S)
                continue
            queue, wanted = queues[0], queues[0].supernet
            if trained is None or trained.evaluated.identity.study != wanted.study:
                try:
                    trained = _opened(wanted, queue.folders if supernet is None else [supernet], data)
                except ValueError as error:  # of one search; others may have work for this worker
                    refused[wanted] = error
                    listener.say(f"the subnets of {wanted.folder} are left out: {error}")
                    continue
            while interruption.noted is None and (claim := queue.claim()) is not None:
                genotype = trained.space.parse(claim.architecture)
                with queue.held(claim):
                    found = trained.evaluated.evaluate(genotype)
                queue.finish(claim, found, int(trained.space.costs(genotype[None]).macs[0]))
                evaluated, since = evaluated + 1, time.monotonic()
                listener.say(f"{found.accuracy:.2%}  {claim.architecture}")
    if refused and not evaluated and interruption.noted is None:
        raise next(iter(refused.values()))
    return evaluated


def _opened(wanted: SupernetIdentity, folders: Sequence[str | Path], data: Mapping[str, Any] | None) -> TrainedSupernet:
    """The supernet that is searched, from the first of the folders that holds it.

    Raises
    ------
    ValueError : none does; the sentence is about the first.
    """
    errors = []
    for folder in folders:
        try:
            trained = TrainedSupernet.open(folder, data, objective=wanted.objective)
            trained.evaluated.identity.check(wanted)
        except ValueError as error:
            errors.append(error)
        else:
            return trained
    raise errors[0]
