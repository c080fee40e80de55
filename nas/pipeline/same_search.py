"""Which search a run folder is of: what a killed search is continued with must be what it was begun with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.devices import Device
from nas.pipeline.initial import initial_digest
from nas.pipeline.request import SearchRequest
from nas.search.budget import Budget
from nas.search.evolution.settings import EvolutionSettings
from nas.search.run import SearchSettings, check_folder, identity_of


def refuse_other_search(request: SearchRequest, devices: Sequence[Device], budget: Budget, folder: Path) -> None:
    """Before anything is learnt or trained, refuse a folder in which another search was begun.

    Raises
    ------
    ValueError : it holds another; what it has stays as it is.
    """
    known = identity_of(budget, request.seed, settings_of(request), together(devices))
    check_folder(folder, known | {"confidence": request.confidence} | origin(request, devices))


def origin(request: SearchRequest, devices: Sequence[Device]) -> dict[str, Any]:
    """What the accuracies and latencies of a search come from, wherever the folders lie."""
    trained = request.training_folder.name if request.supernet is None else initial_digest(request.supernet)
    conditions = {device.name: [device.batch, device.spec.threads, device.spec.runtime] for device in devices}
    return {"supernet": trained, "conditions": conditions}


def together(devices: Sequence[Device]) -> str:
    """Names of the devices with commas between."""
    return ", ".join(device.name for device in devices)


def settings_of(request: SearchRequest) -> SearchSettings:
    """How thorough the search is.

    Raises
    ------
    ValueError : a setting cannot work, or there is no such strategy.
    """
    return SearchSettings(
        EvolutionSettings(request.candidates),
        finalists=request.finalists,
        rounds=request.rounds,
        strategy=request.strategy,
        objective=request.objective,
    )
