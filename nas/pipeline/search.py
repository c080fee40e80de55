"""What `nas search` runs: learn the device, train, search, measure, export, report.

Each step leaves its product in a folder, and a second run picks it up instead of doing the work again. The
budget is resolved and its feasibility checked once: limits on paper before a device is measured, all of them before
anything is trained and before torch is imported, so that an infeasible one is answered at once. One network for one
device or for several that share it is `search`; a network for each of several devices is
`nas.pipeline.fleet.search_fleet`, made of the same three steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latency_tables.files import last_part
from nas.devices import Device
from nas.devices.learning import KnownLatency, learn_device
from nas.devices.runtimes import file_precision
from nas.errors import Failure
from nas.export.network_file import FileKind, check_formats
from nas.memory import give_back
from nas.pipeline.devices import file_kinds_of, named_devices, names_of, not_written, one_or_each
from nas.pipeline.elapsed import Elapsed
from nas.pipeline.expected_time import say_expected_time
from nas.pipeline.given import space_of
from nas.pipeline.images import why_anew
from nas.pipeline.request import SearchRequest, latency_limits, where_images_are
from nas.pipeline.run_folder import in_use, say_folder
from nas.pipeline.same_search import origin, refuse_other_search, settings_of, together
from nas.progress import SILENT, Listener, counted
from nas.search.active_learning import EvaluationPlan, learn_accuracy, learn_from
from nas.search.budget import Budget
from nas.search.feasibility import Feasibility, check_feasibility, too_wide
from nas.search.objectives import EXPONENTS, Objectives, Unknown, accuracy_of
from nas.search.result import SearchResult
from nas.search.run import MEASUREMENTS, run_search
from nas.search.throughput import check_batch
from nas.search.warm_start import save_run
from nas.shipped import CARD
from nas.shipped.card import read_card
from predictors.accuracy import MIN_OBSERVATIONS
from search_spaces import SearchSpace
from search_spaces.traced import TracedSpace

if TYPE_CHECKING:
    from nas.evaluation.trained import TrainedSupernet


@dataclass(frozen=True)
class Task:
    """One network to find: its devices, what is known of them, and a budget that they can keep.

    Attributes
    ----------
    devices : one, or several that share the network.
    known : their latency, by name.
    space : of the networks.
    budget : parsed; see `Budget.parse`.
    feasibility : of the budget in `space`, with the budget resolved.
    kinds : of the files to export, those that the devices run first.
    """

    devices: Sequence[Device]
    known: Mapping[str, KnownLatency]
    space: SearchSpace
    budget: Budget
    feasibility: Feasibility
    kinds: Sequence[FileKind]

    @property
    def name(self) -> str:
        """Of the device, or of all with commas between."""
        return together(self.devices)


def search(request: SearchRequest, folder: Path, listener: Listener = SILENT, command: str = "") -> SearchResult:
    """Find the most accurate network within the budget, prove it and export it into `folder`.

    Parameters
    ----------
    request : what is asked for; several devices share the network.
    folder : the run folder; a killed run of the same request in it is continued.
    listener : receives messages and progress.
    command : what was typed, for the record.

    Returns
    -------
    The result, as written to ``result.json``.

    Raises
    ------
    InfeasibleBudget : no network of the space can keep the budget.
    BudgetMissed : no finalist kept it when measured.
    ValueError : something asked for cannot work.
    """
    with Elapsed(folder) as elapsed:
        devices = named_devices(request, listener)
        limits = latency_limits(request.limits["latency"], names_of(devices))
        latency = one_or_each(devices, limits)
        budget = request.budget_of(latency)
        refuse_other_search(request, devices, budget, folder)
        say_expected_time(request, [devices], listener)
        task = prepare_task(request, devices, budget, listener)
        check_reachable(devices, folder)
        say_folder(folder, listener)
        return run_task(request, task, get_supernet(request, listener), folder, elapsed, listener, command)


def prepare_task(
    request: SearchRequest,
    devices: Sequence[Device],
    budget: Budget,
    listener: Listener = SILENT,
    learnt: Mapping[str, KnownLatency] | None = None,
) -> Task:
    """Learn the latency of the devices, resolve the budget, and check that it can be kept.

    Parameters
    ----------
    request : what is asked for.
    devices : one, or several that share the network.
    budget : parsed.
    listener : receives messages and progress.
    learnt : latency of devices that is known already, by name.

    Raises
    ------
    InfeasibleBudget : no network of the space keeps it.
    ValueError : nothing is known of a device, or a setting cannot work.
    """
    kinds, feasibility = check_task(request, devices, budget)
    space, learnt, known = space_of(request), learnt or {}, {}
    for device in devices:
        known[device.name] = learnt.get(device.name) or learn_device(
            device, space, request.samples, request.seed, listener
        )
        listener.say(f"latency predictor of {device.name}: {known[device.name].evidence}")
        check_batch(request.budget.throughput, device.batch, device.name, known[device.name].predictor)
    if budget.latencies:
        resolved = budget.replaced(feasibility.budget)
        feasibility = check_feasibility(_costs(request, space, devices, known), resolved, request.seed)
    if budget.limits:
        listener.say(str(feasibility))
    for sentence in too_wide(feasibility):
        listener.say(sentence)
    return Task(devices, known, space, budget, feasibility, kinds)


def check_task(request: SearchRequest, devices: Sequence[Device], budget: Budget) -> tuple[list[FileKind], Feasibility]:
    """Judge all that is known of a task before a device is measured or a supernet is trained.

    Parameters
    ----------
    request, devices, budget : as of `prepare_task`.

    Returns
    -------
    The kinds of files to export, and the feasibility of the limits on paper.

    Raises
    ------
    InfeasibleBudget, ValueError : as of `prepare_task`.
    """
    precisions = {device.spec.precision for device in devices}
    if len(precisions) > 1:
        each = ", ".join(f"{device.name} {device.spec.precision}" for device in devices)
        raise ValueError(f"devices share a network of one precision, these run several: {each}; leave some out")
    space = space_of(request)
    kinds = file_kinds_of(request, devices, space)
    settings_of(request)
    check_formats(space, kinds)
    EvaluationPlan(request.evaluations)
    if space.size < MIN_OBSERVATIONS:
        raise ValueError(
            f"space {space.name} has {counted(space.size, 'network')} with these settings, and a "
            f"search needs at least {MIN_OBSERVATIONS}; allow more choices"
        )
    return kinds, check_feasibility(_costs(request, space, devices, {}), budget.on_paper, request.seed)


def check_reachable(devices: Sequence[Device], folder: Path) -> None:
    """See that finalists can be measured, before anything is trained; where some have been, that is not needed."""
    if not (folder / MEASUREMENTS).is_file():
        for device in devices:
            device.check_reachable()


def _costs(
    request: SearchRequest, space: SearchSpace, devices: Sequence[Device], known: Mapping[str, KnownLatency]
) -> Objectives:
    """What networks cost on paper and on the devices that are known, with an accuracy that is yet to be learnt."""
    predictors = {name: each.predictor for name, each in known.items()}
    latency = one_or_each(devices, predictors)
    exponent = EXPONENTS.get(request.objective, 0.0)
    return Objectives(
        space,
        Unknown(),
        latency,
        request.confidence,
        file_precision(devices[0].spec.precision),
        exponent=exponent,
        batch=devices[0].batch,
    )


def get_supernet(request: SearchRequest, listener: Listener = SILENT) -> "TrainedSupernet":
    """The supernet that every network of a request comes from, trained where it is not yet there."""
    # From here on torch is needed, whose import alone takes seconds.
    import torch

    from nas.evaluation.trained import TrainedSupernet
    from nas.pipeline.train import train_supernet

    if request.threads is not None:  # also where nothing is trained: results repeat at the same number
        torch.set_num_threads(request.threads)
    if request.supernet is None and not (request.training_folder / CARD).is_file():
        with in_use(request.training_folder, "the training of a supernet", wait=True, listener=listener):
            if not (request.training_folder / CARD).is_file():  # another search may have trained it meanwhile
                listener.say(f"training a supernet in {request.training_folder}{why_anew(request)}")
                train_supernet(request, request.training_folder, listener)
                give_back()
                listener = SILENT  # it has been told of the images
    notes = Path(request.runs) / "train" / last_part(request.supernet_name)
    objective = accuracy_of(request.objective)
    return TrainedSupernet.open(
        request.supernet_name,
        where_images_are(request),
        request.storage,
        objective=objective,
        notes=notes,
        listener=listener,
    )


def run_task(
    request: SearchRequest,
    task: Task,
    trained: "TrainedSupernet",
    folder: Path,
    elapsed: Elapsed,
    listener: Listener = SILENT,
    command: str = "",
) -> SearchResult:
    """Learn accuracy near the budget, search, measure, export and report into `folder`; see `search`."""
    from nas.evaluation.confusion import score_error
    from nas.pipeline.baselines import compare
    from nas.pipeline.deploy import deploy, evaluate_exported, measure_exported
    from nas.pipeline.finetune import finetune_chosen
    from nas.pipeline.remarks import (
        batch_remarks,
        data_remarks,
        file_remarks,
        given_remarks,
        objective_remarks,
        precision_remarks,
    )
    from nas.report.html import write_report

    devices = task.devices
    about_data = data_remarks(trained)
    for remark in about_data:
        listener.say(remark)
    measure = {
        device.name: measure_exported(trained, device, listener.track) for device in devices if device.can_measure
    }
    refit = {name: known.refit for name, known in task.known.items() if known.refit is not None}
    objectives, feasibility = _costs(request, trained.space, devices, task.known), task.feasibility
    if trained.space.options != task.space.options:
        # The number of classes may have been unknown before the images were read; it is part of sizes and parameters.
        feasibility = check_feasibility(objectives, task.budget, request.seed)
    if trained.data.labelled:
        with listener.track("evaluating subnets") as progress:
            learnt = learn_accuracy(
                objectives,
                feasibility,
                partial(trained.evaluated, progress=progress),
                plan=EvaluationPlan(request.evaluations, strategy=request.strategy),
                seed=request.seed,
                listener=listener,
            )
    else:  # nothing can be evaluated, but much comes with the supernet
        subnets = trained.evaluated.known
        learnt = learn_from(trained.space, subnets, trained.evaluated(subnets))
    listener.say(f"accuracy predictor: {learnt.sentence()}")
    learnt.write(folder)
    objectives = replace(objectives, accuracy=learnt.predictor)
    judged, of_class = evaluate_exported(trained, devices[0]), trained.data.class_counts["validation"]
    result = run_search(
        objectives,
        feasibility,
        seed=request.seed,
        settings=settings_of(request),
        folder=folder,
        record=False,
        device=task.name,
        measure=one_or_each(devices, measure),
        evaluate=judged,
        losses=None if judged is None else judged.losses,
        error=partial(score_error, images_per_class=of_class, objective=trained.evaluated.objective),
        refit=one_or_each(devices, refit),
        evaluated=learnt.evaluated(),
        given=trained.space.max[None] if isinstance(trained.space, TracedSpace) else None,
        origin=origin(request, devices) | {"weights of the supernet": read_card(trained.evaluated.folder)["sha256"]},
        listener=listener,
    )
    if result.interrupted:
        raise KeyboardInterrupt  # nothing was measured, and exporting would take longer than one waits
    if not trained.data.labelled and objectives.precision == "float32":
        # What the chosen network had when the supernet was made, where it was among those evaluated.
        (known,) = trained.evaluated(result.genotype[None]).tolist()
        result.measured["accuracy"] = None if isnan(known) else known
    subnet, finetuning = trained.subnet(result.genotype), None
    about_tuning = []
    if request.trains_alone:
        subnet, finetuning, sentence = finetune_chosen(request, trained, subnet, folder, listener)
        about_tuning = [sentence]
    listener.say("exporting")
    alone = len(devices) == 1
    deployed = deploy(
        trained,
        subnet,
        folder,
        task.kinds,
        batch=request.batch,
        max_accuracy_drop=request.max_accuracy_drop / 100,
        provenance={"supernet": request.supernet_name, "command": command},
        device=devices[0] if alone else None,
        known=result.measured,
    )
    if finetuning is not None:
        result.measured["accuracy"] = deployed["exports"][0][trained.evaluated.objective]
    baselines: dict[str, Any] = {}
    about_baselines: list[str] = []
    try:
        baselines = compare(
            request, trained, devices, feasibility.budget, subnet, deployed, finetuning, folder, task.kinds, listener
        )
    except (Failure, ValueError) as error:  # what the search has found is not lost for it
        about_baselines = [f"The chosen network is compared with no baselines: {error}."]
        listener.say(about_baselines[0])
    evidence = {"latency" if alone else f"latency on {name}": known.evidence for name, known in task.known.items()}
    result.about = {
        "command": command,
        "labelled": trained.data.labelled,
        "data": f"{trained.data.name}, fingerprint {trained.data.fingerprint[:12]}",
        "supernet": request.supernet_name,
        "moved_data": where_images_are(request),
        "batch": devices[0].batch,
        "file_batch": request.batch,
        "notes": [
            *filter(None, [request.usual_start]),
            *trained.remarks(result.genotype),
            *given_remarks(trained, result),
            *about_tuning,
            *about_baselines,
            *objective_remarks(request.objective),
            *batch_remarks(devices[0].batch, result),
            *precision_remarks(devices),
            *too_wide(feasibility),
            *not_written(devices, task.kinds, trained.space),
            *trained.about_classes(),
            *about_data,
            *file_remarks(deployed["exports"], trained.data.classes, devices[0].batch),
        ],
        "predictors": {"accuracy": learnt.sentence()} | evidence,
        "accuracy_predictor": learnt.record(),
        "baselines": baselines,
        "finetuning": finetuning,
        **deployed,
        "seconds": round(elapsed.seconds, 1),
    }
    facts = {
        "device": task.name,
        "supernet": str(request.training_folder),
        "seed": request.seed,
        "objective": accuracy_of(request.objective),
    }
    save_run(folder, objectives, names_of(devices), facts, request.strategy)
    result.write(folder)  # last: whoever finds the verdict finds all that it speaks of
    write_report(folder)
    return result
