"""A network for each of several devices, from one supernet and one accuracy predictor.

Every device has a folder of its own, as if it had been searched for alone. A device that cannot keep its budget or
cannot be reached does not stop the others.
"""

from dataclasses import dataclass
from pathlib import Path

from nas.errors import BudgetMissed, Failure, InfeasibleBudget
from nas.pipeline.devices import named_devices, names_of
from nas.pipeline.elapsed import Elapsed
from nas.pipeline.expected_time import say_expected_time
from nas.pipeline.request import SearchRequest, latency_limits
from nas.pipeline.run_folder import say_folder
from nas.pipeline.same_search import refuse_other_search
from nas.pipeline.search import (
    Task,
    check_reachable,
    get_supernet,
    prepare_task,
    run_task,
)
from nas.progress import SILENT, Listener
from nas.search.result import SearchResult

EXPECTED = (InfeasibleBudget, BudgetMissed, Failure, ValueError)


@dataclass(frozen=True)
class Outcome:
    """The result of one device, or why there is none.

    Attributes
    ----------
    device : its name.
    folder : its run folder.
    result : None where there is none.
    error : why there is none, or why it does not keep the budget.
    """

    device: str
    folder: Path
    result: SearchResult | None = None
    error: Exception | None = None


def search_fleet(request: SearchRequest, folder: Path, listener: Listener = SILENT, command: str = "") -> list[Outcome]:
    """Find a network for each device of `request` into ``folder/<device>``; see `nas.pipeline.search.search`.

    Returns
    -------
    An outcome for each device, in the order they were named. All tasks are prepared before anything is trained; the
    time for that counts for each of them.

    Raises
    ------
    ValueError : something asked for cannot work whatever the device.
    """
    together = Elapsed(folder)
    devices = named_devices(request, listener)
    limits = latency_limits(request.limits["latency"], names_of(devices))
    budgets = {name: request.budget_of(limit) for name, limit in limits.items()}
    tasks: dict[str, Task] = {}
    outcomes: dict[str, Outcome] = {}

    def failed(name: str, error: Exception) -> None:
        listener.say(f"{name}: {error}")
        outcomes[name] = Outcome(name, folder / name, error=error)

    for device in devices:
        refuse_other_search(request, [device], budgets[device.name], folder / device.name)
    say_expected_time(request, [[device] for device in devices], listener)
    for device in devices:
        try:
            task = prepare_task(request, [device], budgets[device.name], listener)
            check_reachable([device], folder / device.name)
            tasks[device.name] = task
        except EXPECTED as error:
            failed(device.name, error)
    trained = None
    if tasks:
        say_folder(folder, listener)
        with together:
            trained = get_supernet(request, listener)
    shared = together.seconds
    for name, task in tasks.items():
        assert trained is not None
        listener.say(f"device {name}")
        try:
            with Elapsed(folder / name, shared) as elapsed:
                result = run_task(request, task, trained, folder / name, elapsed, listener, command)
            outcomes[name] = Outcome(name, folder / name, result)
        except EXPECTED as error:
            failed(name, error)
    return [outcomes[device.name] for device in devices]
