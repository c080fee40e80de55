"""The whole road: learn the device, train, search, measure, export, report. What `nas search` runs.

Each step leaves its product in a folder, and a second run picks it up instead of doing the work again. The
budget is checked as early as can be: against the device before anything is trained, and before torch is
imported, so that an infeasible one is answered at once.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nas.devices import Device, get_device
from nas.devices.learning import learn_device
from nas.devices.runtimes import file_kind
from nas.export.network_file import FileKind, file_kinds
from nas.listener import SILENT, Listener
from nas.search.budget import Budget
from nas.search.estimates import LATENCY, Estimator, Predictor
from nas.search.evolution import EvolutionSettings
from nas.search.feasibility import check_feasibility
from nas.search.result import SearchResult
from nas.search.run import SearchSettings, run_search
from search_spaces import Population, SearchSpace, get_space

SUPERNET_CARD = "supernet.json"


@dataclass(frozen=True)
class SearchRequest:
    """What is asked for.

    Attributes
    ----------
    budget : limits by flag name, as typed (``{"latency": "20ms", "macs": None}``).
    device : the device's name.
    supernet : folder of a training run; None trains one, or finds the one trained with these settings.
    space, data, recipe : settings for that training; see `nas.training.run.train_supernet`.
    moved_data : settings of the given supernet's images, if these have moved since its training.
    runs : the folder of all runs.
    seed : of everything random.
    threads, accelerator : for training.
    confidence : chance with which the network shall keep a latency budget.
    samples : networks to measure on a device that little is known of; None lets `learn_device` say.
    evaluations : subnets to fit the accuracy predictor to.
    candidates : networks that the evolution may evaluate by prediction.
    finalists, rounds : networks to measure in a round, and rounds at most.
    format, precision : of the exported files, several with commas between; None for what the device runs, which
        is exported in any case where it is ONNX or TFLite.
    max_accuracy_drop : points of accuracy that an int8 file may lose against float32.
    batch : of the exported files; None leaves it open in ONNX.
    command : what was typed, for the record.
    """

    budget: Mapping[str, str | None]
    device: str = "cpu"
    supernet: Path | None = None
    space: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    moved_data: Mapping[str, Any] | None = None
    runs: Path = Path("runs")
    seed: int = 0
    threads: int | None = None
    accelerator: str = "auto"
    confidence: float = 0.95
    samples: int | None = None
    evaluations: int = 80
    candidates: int = 20_000
    finalists: int = 8
    rounds: int = 3
    format: str | None = None
    precision: str | None = None
    max_accuracy_drop: float = 1.0
    batch: int | None = 1
    command: str = ""

    @property
    def training_folder(self) -> Path:
        """Where the supernet is, or will be: the same settings, the same folder."""
        if self.supernet is not None:
            return self.supernet
        settings = {"space": self.space, "data": self.data, "recipe": self.recipe, "seed": self.seed}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return self.runs / "train" / f"{self.data['name']}_{digest[:10]}"


def search(request: SearchRequest, folder: Path, listener: Listener = SILENT) -> SearchResult:
    """Find the most accurate network within the budget, prove it and export it into `folder`.

    Parameters
    ----------
    request : what is asked for.
    folder : the run folder; a killed run of the same request in it is continued.
    listener : is told how it goes.

    Returns
    -------
    The result, as written to ``result.json``.

    Raises
    ------
    InfeasibleBudget : no network of the space can keep the budget.
    BudgetMissed : no finalist kept it when measured.
    ValueError : something asked for cannot work.
    """
    budget = Budget.parse(**request.budget)
    settings = SearchSettings(EvolutionSettings(request.candidates), finalists=request.finalists, rounds=request.rounds)
    device = get_device(request.device, folder=request.runs / "devices")
    kinds, precision = _file_kinds(request, device), device.spec.precision
    space = _space(request)

    def check(latency: Predictor | None, budget: Budget) -> None:
        check_feasibility(
            Estimator(space, _Unknown(), latency, request.confidence, precision), budget, np.random.default_rng(0)
        )

    check(None, budget.without(LATENCY))
    known = learn_device(device, space, request.samples, request.seed, listener)
    listener.say(f"latency predictor of {device.name}: {known.evidence}")
    check(known.predictor, budget)

    # From here on torch is needed, whose import alone takes seconds.
    from nas.deployment import deploy, evaluate_exported, measure_exported
    from nas.report.html import write_report
    from nas.training.run import TrainedSupernet, train_supernet

    if not (request.training_folder / SUPERNET_CARD).is_file() and request.supernet is None:
        listener.say(f"training a supernet in {request.training_folder}")
        train_supernet(
            request.training_folder,
            space=request.space,
            data=request.data,
            recipe=request.recipe,
            seed=request.seed,
            threads=request.threads,
            accelerator=request.accelerator,
        )
    trained = TrainedSupernet.open(request.training_folder, request.moved_data)
    with listener.track("evaluating subnets") as progress:
        accuracy = trained.fit_accuracy(request.evaluations, request.seed, progress)
    accuracy_error = (
        f"error {100 * accuracy.rmse_:.2f} points, rank correlation (Kendall) {accuracy.kendall_tau_:.2f}, "
        f"each of {accuracy.n_observations_} subnets predicted from the others"
    )
    listener.say(f"accuracy predictor: {accuracy_error}")
    result = run_search(
        Estimator(trained.space, accuracy, known.predictor, request.confidence, precision),
        budget,
        seed=request.seed,
        settings=settings,
        folder=folder,
        device=device.name,
        measure=measure_exported(trained, device, listener.track) if device.can_measure else None,
        evaluate=evaluate_exported(trained, device),
        refit=known.refit,
        say=listener.say,
    )
    listener.say("exporting")
    result.about = {
        "command": request.command,
        "data": f"{trained.data.name}, fingerprint {trained.data.fingerprint[:12]}",
        "supernet": str(request.training_folder),
        "predictors": {"accuracy": accuracy_error, "latency": known.evidence},
        **deploy(
            trained,
            result.genotype,
            folder,
            kinds,
            batch=request.batch,
            max_accuracy_drop=request.max_accuracy_drop / 100,
            provenance={"supernet": str(request.training_folder), "command": request.command},
            device=device,
            known=result.measured,
        ),
    }
    result.write(folder)
    write_report(folder)
    return result


def _file_kinds(request: SearchRequest, device: Device) -> list[FileKind]:
    """What to export, the device's own kind first; refuses what cannot be written here before anything is done."""
    if request.max_accuracy_drop < 0:
        raise ValueError(f"--max-accuracy-drop is in points, at least 0, got {request.max_accuracy_drop:g}")
    own = file_kind(device.spec.runtime, device.spec.precision)
    asked = file_kinds(
        request.format or (own.format if own else "onnx"), request.precision or (own.precision if own else "float32")
    )
    kinds = [own, *(kind for kind in asked if kind != own)] if own else asked
    for kind in kinds:
        kind.require()
    return kinds


class _Unknown:
    """Stands for the accuracy predictor while only costs are asked about."""

    def predict(self, population: Population, return_std: bool = False) -> Any:
        raise NotImplementedError


def _space(request: SearchRequest) -> SearchSpace:
    """The space of the supernet, from its card alone where there is one."""
    card = request.training_folder / SUPERNET_CARD
    if card.is_file():
        record = json.loads(card.read_text(encoding="utf-8"))["space"]
        return get_space(record["name"], **record["options"])
    if request.supernet is not None:
        raise ValueError(f"{request.supernet} is no trained supernet; give the folder of a finished `nas train` run")
    return get_space(**request.space)
