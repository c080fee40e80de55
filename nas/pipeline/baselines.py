"""What a user would take otherwise: trained networks at a lower resolution, fine-tuned and measured beside the answer.

Each is fine-tuned on the same images by the same recipe, at the largest resolution at which it keeps the budget, of
those that a search on photographs chooses from, for its part of `SHARE` of the time that the chosen network gets; then
measured in one session together with it.
Accuracy on search-validation decides; the test split is for the final comparison. Latencies are milliseconds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from latency_tables.files import check_value, read_json, write_text
from latency_tables.scratch import scratch_folder
from nas.data import ImageData
from nas.devices import Device
from nas.devices.runtimes import RUNTIMES, file_kind, file_precision
from nas.errors import TooShort
from nas.evaluation.accuracy import Answers
from nas.evaluation.confusion import Confusion, paired_error
from nas.evaluation.trained import GIVEN, TrainedSupernet, given_network
from nas.export.checked import calibrated_file, rejections
from nas.export.network_file import FileKind
from nas.memory import give_back
from nas.pipeline.at_hand import AUTO, check_weights, weights_at_hand
from nas.pipeline.compared import GIVEN_NETWORK, can_be_compared, compared_with
from nas.pipeline.deploy import deploy_subnet, predictions_as_file
from nas.pipeline.initial import IMAGENET_MEAN, IMAGENET_STD, initial_normalisation, initial_supernet
from nas.pipeline.photographs import adapting
from nas.pipeline.request import SearchRequest
from nas.pipeline.run_folder import in_use
from nas.pipeline.verdict import Judged, best_of, verdict
from nas.progress import SILENT, Listener
from nas.search.budget import Budget
from nas.search.objectives import EXPONENTS, costs_at_batch
from nas.shipped.pretrained import pretrained, pretrained_names
from nas.supernet import Subnet, load_subnet, save_subnet, subnet_metadata
from nas.tracing import adopt, load_model, start_from
from nas.training import Phase, Recipe, TrainingDiverged, TrainingResult, train
from nas.training.checkpoint import FILE as CHECKPOINT
from nas.training.checkpoint import going_on_or_anew, weights_digest
from nas.training.classifier import fit_classifier
from nas.training.duration import show_duration
from search_spaces import SearchSpace, get_space
from search_spaces.efficientnet_lite import RESOLUTIONS

SHARE = 0.5
"""Of the time in which the supernet and then the chosen network alone are trained; all baselines together get it."""
FOLDER = "baselines"
SIDES = "baselines.json"
"""At how many pixels each baseline keeps the budget, as measured when they were first compared."""
MEASURED_TWICE = 0.05
"""A baseline that kept the budget when its resolution was chosen may exceed it by this share in the final session:
measurements differ as much from one session to the next."""


def compare(
    request: SearchRequest,
    trained: TrainedSupernet,
    devices: Sequence[Device],
    budget: Budget,
    subnet: Subnet,
    deployed: Mapping[str, Any],
    finetuning: Mapping[str, Any] | None,
    folder: Path,
    kinds: Sequence[FileKind],
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Fine-tune and measure the baselines, and say which is the better choice.

    Parameters
    ----------
    request : says which baselines; `nas.pipeline.at_hand` finds them.
    trained : what the chosen network comes from; the same images, and `SHARE` of its time.
    devices : whose latency counts; of several that share a network, none is compared on.
    budget : resolved.
    subnet, deployed, finetuning : the chosen network, what is known of its files and of its training alone, if any.
    folder : of the run; a baseline that is better is exported below it.
    kinds : of exported files.

    Returns
    -------
    JSON-able: ``chosen`` (its latency in the same session), ``networks``, ``verdict`` (a sentence), ``better`` (a name,
    or None) and ``files`` of the better one. Empty where nothing is compared.
    """
    names = compared_with(request.baselines, trained.space, (trained.evaluated.folder / GIVEN).is_file())
    if not names or not trained.data.labelled or len(devices) > 1:
        if request.baselines != AUTO and names:
            listener.say("no baselines: they are compared on one device, and by images with labels")
        return {}
    (device,), seed = devices, request.seed
    if not can_be_compared(devices, bool(budget.latencies)):
        listener.say(f"no baselines: whether they keep a limit on the latency of {device.name} cannot be measured here")
        return {}
    chosen = {
        "accuracy": deployed["exports"][0][trained.evaluated.objective],
        "test_accuracy": deployed[f"test_{trained.evaluated.objective}"],
        "seconds": float(trained.card["seconds"]) + (float(finetuning["seconds"]) if finetuning else 0.0),
    }
    candidates = [
        _given(trained) if name == GIVEN_NETWORK else Candidate.make(name, trained.data, seed) for name in names
    ]
    training = float(trained.card["seconds"])
    seconds = SHARE * (training + request.finetune_s(training)) / len(candidates)
    sides = _sides(candidates, folder / SIDES, partial(_largest_within, candidates, device, budget, trained, listener))
    found: list[tuple[Candidate, Subnet, float]] = []
    for candidate, side in zip(candidates, sides, strict=True):
        if side is None:
            listener.say(
                f"baseline {candidate.name}: it keeps the budget at none of {', '.join(map(str, candidate.sides))} px"
            )
            continue
        listener.say(f"baseline {candidate.name} at {side} px: fine-tuning for {show_duration(seconds)}")
        give_back()
        try:
            found.append((candidate, *_finetuned(candidate, side, trained.evaluated.notes, seconds, request, listener)))
        except (TooShort, TrainingDiverged) as error:
            listener.say(f"baseline {candidate.name} at {side} px is not compared: {error}")
    if not found:
        none = "No baseline could be trained." if any(sides) else "No baseline keeps the budget."
        return {"chosen": {}, "networks": [], "verdict": none, "better": None, "files": {}}
    give_back()
    measured = _measure_together([subnet, *(other for _, other, _ in found)], device, trained.data, listener)
    of_chosen = predictions_as_file(subnet, kinds[0], trained.data)
    judged = [
        _judge(candidate, other, kinds[0], of_chosen, took, timed, budget, trained.evaluated.objective)
        for (candidate, other, took), timed in zip(found, measured[1:], strict=True)
    ]
    exponent = EXPONENTS.get(request.objective, 0.0)
    best, counts = best_of(judged, measured[0][0], exponent)
    better = counts > chosen["accuracy"]
    files: dict[str, str] = {}
    if better and best is not None:
        number = judged.index(best)
        facts = deploy_subnet(
            found[number][1],
            found[number][0].data,
            folder / FOLDER,
            kinds,
            batch=request.batch,
            max_accuracy_drop=request.max_accuracy_drop / 100,
            objective=trained.evaluated.objective,
            provenance={"baseline": best.title},
        )
        for rejected in rejections(facts["exports"]):
            listener.say(f"baseline {best.title}: {rejected}")
        files = {kind: f"{FOLDER}/{name}" for kind, name in facts["files"].items()}
    return {
        "chosen": dict(zip(("latency_ms", "p10_ms", "p90_ms"), measured[0], strict=True)),
        "networks": [asdict(b) for b in judged],
        "verdict": verdict(chosen, measured[0][0], judged, exponent),
        "better": best.title if better and best is not None else None,
        "files": files,
    }


@dataclass(frozen=True)
class Candidate:
    """A trained network with as many outputs as there are classes, and the images normalised as it expects.

    Attributes
    ----------
    space : whose max net it is.
    extract : makes it, at the resolution of a genotype.
    own_classifier : the one that it came with is for these classes, and is kept.
    """

    name: str
    space: SearchSpace
    extract: Callable[[NDArray[np.int16]], Subnet]
    data: ImageData
    own_classifier: bool = False

    @classmethod
    def make(cls, name: str, data: ImageData, seed: int) -> "Candidate":
        """The network of that name, its classifier new.

        Raises
        ------
        ValueError : the file of its weights is damaged.
        MissingExtra : the package with its weights is not installed.
        """
        n = len(data.classes)
        if name in pretrained_names():
            space = get_space(pretrained(name).space, resolutions=RESOLUTIONS, num_classes=n)
            mean, std = initial_normalisation(name)
            supernet = initial_supernet(name, space, seed)
            return cls(name, space, supernet.extract, replace(data, mean=mean, std=std))
        path = weights_at_hand()[name]
        check_weights(path)
        adopted = adopt(load_model(f"torchvision:{name}", path), RESOLUTIONS)
        space = get_space(adopted.space.name, **adopted.space.options | {"num_classes": n})
        supernet = start_from(adopted, space, seed).supernet
        return cls(name, space, supernet.extract, replace(data, mean=IMAGENET_MEAN, std=IMAGENET_STD))

    @property
    def recipe(self) -> Recipe:
        """How it is fine-tuned."""
        return replace(adapting(self.name), phases=(Phase(name="fine-tuning", share=1.0),))

    @property
    def column(self) -> int:
        """Of the resolution; every candidate takes several."""
        assert self.space.resolution_column is not None
        return self.space.resolution_column

    @property
    def sides(self) -> tuple[int, ...]:
        """Resolutions that it can take."""
        return self.space.genes[self.column].values

    def genotype(self, side: int) -> NDArray[np.int16]:
        """Of the network at a resolution."""
        row = self.space.max.copy()
        row[self.column] = self.sides.index(side)
        return row

    def at(self, side: int) -> Subnet:
        """The network at a resolution."""
        return self.extract(self.genotype(side))


def _given(trained: TrainedSupernet) -> Candidate:
    """The network that the supernet was made of, as it came."""
    space = trained.space
    weights = load_subnet(trained.evaluated.folder / GIVEN).state_dict()

    def extract(genotype: NDArray[np.int16]) -> Subnet:
        subnet = Subnet(space, genotype)
        subnet.load_state_dict(weights)
        return subnet

    own_classifier = bool(given_network(trained.evaluated.folder).get("own_classifier"))
    return Candidate(GIVEN_NETWORK, space, extract, trained.data, own_classifier)


class _Known(TypedDict):
    """What is kept with a baseline that was fine-tuned."""

    baseline: str
    seconds: float


def _sides(candidates: Sequence[Candidate], chosen: Path, choose: Callable[[], list[int | None]]) -> list[int | None]:
    """The resolution of each candidate: as a killed search has `chosen` it, else as it is chosen now."""
    if chosen.is_file():
        known = read_json(chosen, dict[str, int | None])
        if all(c.name in known and known[c.name] in (None, *c.sides) for c in candidates):
            return [known[c.name] for c in candidates]
    sides = choose()
    found = {candidate.name: side for candidate, side in zip(candidates, sides, strict=True)}
    write_text(chosen, json.dumps(found) + "\n")
    return sides


Timed = tuple[float | None, float | None, float | None]


def _largest_within(
    candidates: Sequence[Candidate], device: Device, budget: Budget, trained: TrainedSupernet, listener: Listener
) -> list[int | None]:
    """The largest resolution at which each candidate keeps the budget; None where it does at none."""
    nets = [(c, side) for c in candidates for side in c.sides]
    timed: list[Timed] = [(None, None, None)] * len(nets)
    if budget.latencies:
        timed = _measure_together([c.at(side).eval() for c, side in nets], device, trained.data, listener)
    keeps = [_keeps(c.space, c.genotype(side), t[0], budget, device) for (c, side), t in zip(nets, timed, strict=True)]
    return [
        max((side for (c, side), kept in zip(nets, keeps, strict=True) if c is candidate and kept), default=None)
        for candidate in candidates
    ]


def _keeps(space: Any, genotype: Any, latency_ms: float | None, budget: Budget, device: Device) -> bool:
    costs = costs_at_batch(space, genotype[None], file_precision(device.spec.precision), device.batch)
    for limit in budget.limits:
        value = latency_ms if limit.latency is not None else float(costs[limit.metric.key][0])
        if value is not None and value > limit.value:
            return False
    return True


def _measure_together(subnets: Sequence[Subnet], device: Device, data: ImageData, listener: Listener) -> list[Timed]:
    """Latency, p10 and p90 of the networks' files, in one session; None where the device cannot be measured.

    Files have the networks' weights where we export the runtime's format, else random ones, as those of finalists.
    """
    spec = device.spec
    if not device.can_measure:
        return [(None, None, None)] * len(subnets)
    runtime, kind = RUNTIMES[spec.runtime], file_kind(spec.runtime, spec.precision)
    with scratch_folder() as scratch, listener.track("measuring baselines") as progress:
        paths = [scratch / f"network{i}{runtime.suffix}" for i in range(len(subnets))]
        for path, subnet in zip(paths, subnets, strict=True):
            if kind is None:
                content = runtime.precisions[spec.precision](subnet.space, subnet.genotype, device.batch)
            else:
                content = calibrated_file(subnet, kind, data, batch=device.batch)
            path.write_bytes(content)
        measured = device.measure_models(paths, progress=progress).measurements
    return [(m.latency_ms, m.p10_ms, m.p90_ms) for m in measured]


def _finetuned(
    candidate: Candidate,
    side: int,
    notes: Path,
    seconds: float,
    request: SearchRequest,
    listener: Listener,
) -> tuple[Subnet, float]:
    """The network fine-tuned in a folder below `notes`; one that was fine-tuned before for as long is read back."""
    wanted = f"{max(1, round(seconds))}s"
    # By how long too: a search with more baselines, or another --finetune-time, trains each anew for its own time.
    place = notes / FOLDER / f"{candidate.name.replace(' ', '_')}_{side}_{wanted}_seed{request.seed}"
    with in_use(place, "the fine-tuning of a baseline", wait=True, listener=listener):
        file = place / "subnet.safetensors"
        if file.is_file():
            known = check_value(subnet_metadata(file), _Known, f"{file}: metadata")
            return load_subnet(file).eval(), known["seconds"]
        subnet = candidate.at(side)
        weights = weights_digest(subnet)  # before its classifier, which is not fitted again where there is a checkpoint

        def work(resume: bool) -> TrainingResult:
            if not candidate.own_classifier and not (resume and (place / CHECKPOINT).is_file()):
                fit_classifier(subnet, candidate.data, device=request.accelerator, listener=listener)
            return train(
                subnet,
                candidate.data,
                candidate.recipe,
                place,
                seed=request.seed,
                threads=request.threads,
                device=request.accelerator,
                resume=resume,
                evaluations=1,
                train_time=wanted,
                weights=weights,
                listener=listener,
            )

        result = going_on_or_anew(work, f"the fine-tuning of {candidate.name}", listener)
        subnet = subnet.to("cpu").eval()
        save_subnet(file, subnet, dict(_Known(baseline=candidate.name, seconds=round(result.seconds, 1))))
        return subnet, result.seconds


def _judge(
    candidate: Candidate,
    subnet: Subnet,
    kind: FileKind,
    of_chosen: Answers,
    seconds: float,
    timed: Timed,
    budget: Budget,
    objective: str,
) -> Judged:
    data, found, errors = candidate.data, [], []
    own_predictions = predictions_as_file(subnet, kind, data)
    for split, own, others in zip((data.validation, data.test), own_predictions, of_chosen, strict=True):
        labels = split.labels.numpy()
        found.append(Confusion.of(labels, own, len(data.classes)))
        errors.append(paired_error(own, others, labels, objective))
    validation, test = found
    costs = candidate.space.costs(subnet.genotype[None])
    latency_ms, p10_ms, p90_ms = timed
    return Judged(
        candidate.name,
        subnet.resolution,
        int(costs.macs[0]),
        int(costs.params[0]),
        validation.score(objective),
        test.score(objective),
        test.score_error(objective),
        latency_ms,
        p10_ms,
        p90_ms,
        all(
            latency_ms is None or latency_ms <= limit.value * (1 + MEASURED_TWICE)
            for limit in budget.limits
            if limit.latency is not None
        ),
        round(seconds, 1),
        *errors,
    )
