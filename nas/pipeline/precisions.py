"""Float32 or int8: the best network in each precision, both measured, and the better one chosen.

Int8 runs a larger network in the same time, and loses some accuracy to rounding; which of the two is better is known
only at the end. So each precision has a search of its own, with the latency predictor of its device configuration, from
one supernet and one accuracy predictor. Accuracies are fractions, latencies milliseconds.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

from pydantic import PositiveFloat

from latency_tables.files import atomic_path, read_json, write_text
from nas.devices import Device
from nas.devices.learning import KnownLatency, learn_device
from nas.devices.registry import device_specs
from nas.devices.runtimes import RUNTIMES, file_precision
from nas.errors import BudgetMissed, InfeasibleBudget
from nas.export.network_file import PRECISIONS
from nas.pipeline.at_hand import AUTO
from nas.pipeline.devices import named_devices
from nas.pipeline.elapsed import Elapsed
from nas.pipeline.expected_time import say_expected_time
from nas.pipeline.given import space_of
from nas.pipeline.request import SearchRequest
from nas.pipeline.run_folder import SECONDS, say_folder
from nas.pipeline.same_search import refuse_other_search
from nas.pipeline.search import (
    Task,
    check_reachable,
    check_task,
    get_supernet,
    prepare_task,
    run_task,
)
from nas.progress import SILENT, Listener
from nas.search.budget import Budget
from nas.search.objectives import EXPONENTS, Objectives, Unknown
from nas.search.result import OF_AN_ANSWER, SearchResult, forget_answer
from nas.search.run import MEASUREMENTS

AMOUNTS = "amounts.json"
"""What percentages came to when the search was begun."""
OF_THE_SEARCH = ("search.json", MEASUREMENTS, SECONDS)
"""Files of a run folder that a killed search goes on from; they stay where they are."""


def search_precisions(
    request: SearchRequest, folder: Path, listener: Listener = SILENT, command: str = ""
) -> SearchResult:
    """Search in float32 and in int8, and keep the more accurate file of those that keep the budget when measured.

    An int8 file that lost more than `request.max_accuracy_drop` points is kept only where there is no other.

    Parameters
    ----------
    request : what is asked for, of one device; its `precision` is not looked at. Percentages are of the max net on
        the device as named, for both precisions.
    folder : the run folder; each search leaves its own in a sub-folder of its precision's name, and what the better
        one left is found in `folder` itself too.
    listener : receives messages and progress.
    command : what was typed, for the record.

    Returns
    -------
    The better result, as written to ``result.json`` in `folder`; ``about["precisions"]`` compares both.

    Raises
    ------
    InfeasibleBudget, BudgetMissed : in both precisions.
    ValueError : the device cannot be measured in both precisions, or something else asked for cannot work.
    """
    with Elapsed(folder) as elapsed:
        return _better_of_both(request, folder, elapsed, listener, command)


def _better_of_both(
    request: SearchRequest, folder: Path, elapsed: Elapsed, listener: Listener, command: str
) -> SearchResult:
    """See `search_precisions`."""
    (named, *others) = named_devices(request, listener)
    if others:
        raise ValueError(f"--precision {AUTO} is for one device, got {request.device}")
    devices = {precision: in_precision(named, precision, Path(request.runs) / "devices") for precision in PRECISIONS}
    request = replace(request, precision=None)
    _check_on_paper(request, named, devices)
    say_expected_time(request, [[device] for device in devices.values()], listener)
    budget, learnt = _in_amounts(request, named, folder / AMOUNTS, listener)
    tasks: dict[str, Task] = {}
    failed: dict[str, InfeasibleBudget | BudgetMissed] = {}
    for precision, device in devices.items():
        refuse_other_search(request, [device], budget, folder / precision)
    for precision, device in devices.items():
        try:
            tasks[precision] = prepare_task(request, [device], budget, listener, learnt)
        except InfeasibleBudget as error:
            failed[precision] = error
    if not tasks:
        raise InfeasibleBudget(_both(failed))
    if learnt:  # percentages have just been turned into amounts
        write_text(folder / AMOUNTS, json.dumps({limit.column: limit.value for limit in budget.limits}) + "\n")
    for precision in tasks:
        check_reachable([devices[precision]], folder / precision)
    say_folder(folder, listener)
    trained = get_supernet(request, listener)
    results: dict[str, SearchResult] = {}
    for precision, task in tasks.items():
        listener.say(f"searching in {precision}")
        try:
            with Elapsed(folder / precision) as own:
                results[precision] = run_task(request, task, trained, folder / precision, own, listener, command)
        except BudgetMissed as error:
            failed[precision] = error
    if not results:
        forget_answer(folder)
        raise BudgetMissed(_both(failed))
    exponent = EXPONENTS.get(request.objective, 0.0)
    best = max(results, key=lambda precision: _merit(results[precision], exponent))
    results[best].about.setdefault("notes", []).extend(_rejected(results, best, exponent))
    rows = [
        {"precision": precision, "device": device.name, "chosen": precision == best}
        | (_found(results[precision]) if precision in results else {"reason": str(failed[precision])})
        for precision, device in devices.items()
    ]
    return _keep(results[best], rows, folder / best, folder, elapsed.seconds)


def in_precision(device: Device, precision: str, folder: Path) -> Device:
    """The same device in another precision: by the card that differs in nothing else, else by one made here.

    Parameters
    ----------
    folder : of the devices' own latency tables.

    Raises
    ------
    ValueError : it cannot be measured, or its runtime has no such precision.
    """
    spec = device.spec
    if spec.precision == precision:
        return device
    if not device.can_measure:
        raise ValueError(
            f"--precision {AUTO} measures in both precisions, and {device.name} is known by published figures alone; "
            "name a device that can be reached"
        )
    if precision not in RUNTIMES[spec.runtime].precisions:
        raise ValueError(f"--precision {AUTO}: {spec.runtime}, which {device.name} runs, has no {precision}")
    wanted = replace(spec, precision=precision, aliases=(), chip="")
    cards = (card for card in device_specs(folder) if replace(card, name=spec.name, aliases=(), chip="") == wanted)
    found = next(cards, replace(wanted, name=f"{spec.name}-{precision}", chip=spec.chip))
    return device.under(found, folder / found.name)


def _check_on_paper(request: SearchRequest, named: Device, devices: Mapping[str, Device]) -> None:
    """Refuse what can be told without the device to work, or to be kept, in neither precision."""
    budget, space = request.budget_of(request.limits["latency"]), space_of(request)
    of_named = Objectives(space, Unknown(), None, request.confidence, named.spec.precision)
    on_paper = budget.on_paper.resolve(of_named.max_net(budget.on_paper))
    failed: dict[str, InfeasibleBudget] = {}
    for precision, device in devices.items():
        try:
            check_task(request, [device], on_paper)
        except InfeasibleBudget as error:
            failed[precision] = error
    if len(failed) == len(devices):
        raise InfeasibleBudget(_both(failed))


def _in_amounts(
    request: SearchRequest, device: Device, begun: Path, listener: Listener
) -> tuple[Budget, dict[str, KnownLatency]]:
    """The budget without percentages, so that it means the same in both precisions, and what was learnt for that.

    A search that goes on has the amounts that it was `begun` with, though more may be known of the device since.
    """
    budget = request.budget_of(request.limits["latency"])
    if not budget.is_relative:
        return budget, {}
    if begun.is_file():
        amount = read_json(begun, dict[str, PositiveFloat])
        if all(limit.column in amount for limit in budget.limits):
            return _of_amounts(budget, amount), {}
    space = space_of(request)
    known = learn_device(device, space, request.samples, request.seed, listener)
    precision = file_precision(device.spec.precision)
    objectives = Objectives(space, Unknown(), known.predictor, request.confidence, precision, batch=device.batch)
    amounts = budget.resolve(objectives.max_net(budget))
    # In the other precision the percentage would be read as one of another max net.
    return _of_amounts(budget, {limit.column: limit.value for limit in amounts.limits}), {device.name: known}


def _of_amounts(budget: Budget, amount: Mapping[str, float]) -> Budget:
    changed = [(limit, amount[limit.column]) for limit in budget.limits]
    return Budget(
        tuple(replace(each, value=value, typed=each.metric.format(value), relative=False) for each, value in changed)
    )


def _merit(result: SearchResult, exponent: float) -> tuple[bool, float, float]:
    """Larger is better: not rejected, then accurate on search-validation (see `Objectives.worth`), then fast."""
    latency_ms = result.measured["latency_ms"] or 0.0
    weight = latency_ms**exponent if latency_ms else 1.0
    return result.about["exports"][0]["accepted"], _score(result) * weight, -latency_ms


def _score(result: SearchResult) -> float:
    """Of its first file on search-validation."""
    file = result.about["exports"][0]
    return float(file[file["objective"]])


def _rejected(results: Mapping[str, SearchResult], best: str, exponent: float) -> list[str]:
    """What is to be said where a file is more accurate than the `best`, would be chosen, and was rejected."""
    score, least = _score(results[best]), _merit(results[best], exponent)[1]
    said = []
    for precision, result in results.items():
        (accepted, worth, _), other = _merit(result, exponent), _score(result)
        if precision != best and not accepted and other > score and worth > least:
            points = 100 * result.about["exports"][0]["accuracy_drop"]
            said.append(
                f"The best network in {precision} is more accurate on search-validation ({other:.2%} against "
                f"{score:.2%}), but lost {points:.2f} points to {precision}, more than is allowed; to have it, add "
                f"--max-accuracy-drop {ceil(10 * points) / 10:g}."
            )
    return said


def _found(result: SearchResult) -> dict[str, Any]:
    """A line of the comparison."""
    file = result.about["exports"][0]
    on_test = [f"test_{each}" for each in dict.fromkeys(["accuracy", file["objective"]])]
    return {
        "status": result.status,
        "architecture": result.architecture,
        "latency_ms": result.measured["latency_ms"],
        "macs": result.costs["macs"],
        "accuracy": file[file["objective"]],
        **{key: file[key] for key in ("bytes", "peak_activation_bytes", "accepted")},
        **{key: file[key] for name in on_test for key in (name, f"{name}_error")},
    }


def _keep(result: SearchResult, rows: list[dict[str, Any]], source: Path, folder: Path, seconds: float) -> SearchResult:
    """Let `folder` be the run folder of `result`, which lies in `source`, with comparison and time in its record."""
    from nas.report.html import write_report

    better = (result.about.get("baselines") or {}).get("files", {}).values()
    forget_answer(folder)
    others = (*OF_THE_SEARCH, *OF_AN_ANSWER)
    files = [path.name for path in source.iterdir() if path.is_file() and path.name not in others]
    for name in sorted({*files, *better}):
        (folder / name).parent.mkdir(exist_ok=True)
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(source / name, temporary)
    result.about |= {"precisions": rows, "seconds": round(seconds, 1)}
    result.write(folder)
    write_report(folder)
    return result


def _both(failed: Mapping[str, Exception]) -> str:
    return "; ".join(f"in {precision}, {error}" for precision, error in failed.items())
