"""The network of a finished search trained on, judged, and exported again into a run folder of its own.

That folder is one of a finished search too: it can be exported, reported and fine-tuned again. Latency is not
measured again, since it does not depend on weights.
"""

import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from nas.errors import TooShort
from nas.evaluation.trained import TrainedSupernet, given_network
from nas.export.network_file import FileKind
from nas.memory import give_back
from nas.pipeline.deploy import deploy_subnet
from nas.pipeline.export import batch_of, chosen_network, keep_latencies, search_record, write_search_record
from nas.pipeline.remarks import data_remarks, file_remarks
from nas.pipeline.request import SearchRequest
from nas.pipeline.run_folder import say_folder
from nas.pipeline.usual_finetuning import usual_finetuning
from nas.progress import SILENT, Listener, counted
from nas.search.result import SearchResult
from nas.supernet import Subnet
from nas.training import Finetuning, TrainingDiverged
from nas.training.checkpoint import going_on_or_anew
from nas.training.duration import parse_duration, show_duration
from nas.training.finetune import Finetuned, finetune

FOLDER = "finetuning"


def specialise(
    source: Path,
    folder: Path,
    settings: Finetuning,
    *,
    seed: int = 0,
    device: str = "cpu",
    threads: int | None = None,
    max_accuracy_drop: float = 0.01,
    command: str = "",
    train_time: str | None = None,
    listener: Listener = SILENT,
) -> dict[str, Any]:
    """Fine-tune the network of the search in `source`; see `teacher_of`.

    Parameters
    ----------
    source : run folder of a finished search, or of an earlier call.
    folder : where the result goes: the network that is kept, in the formats that `source` has. A killed call with the
        same arguments goes on from the checkpoint in it.
    settings, seed, device, threads, train_time, listener : see `nas.training.finetune.finetune`.
    max_accuracy_drop : of int8 files against float32, as a fraction.
    command : what was typed, for the record.

    Returns
    -------
    The record, as in ``result.json``; under ``finetuning`` the accuracies before and after.

    Raises
    ------
    ValueError : `source` is no finished search.
    MissingExtra : what one of its files needs is not installed.
    TrainingDiverged : a loss was not finite; no network is written then.
    """
    began = perf_counter()
    record = search_record(source)
    earlier = record["exports"]
    kinds = [FileKind(export["format"], export["precision"]) for export in earlier]
    for kind in kinds:
        kind.require()
    trained = TrainedSupernet.of_search(record)
    trained.data.require_labels("fine-tuning")
    subnet = chosen_network(source, record)
    objective = trained.evaluated.objective
    say_folder(folder, listener)
    tuned = finetune(
        subnet,
        teacher_of(subnet, trained, settings),
        trained.data,
        settings,
        objective=objective,
        seed=seed,
        device=device,
        threads=threads,
        folder=folder,
        train_time=train_time,
        listener=listener,
    )
    facts = deploy_subnet(
        tuned.subnet,
        trained.data,
        folder,
        kinds,
        batch=batch_of(record),
        max_accuracy_drop=max_accuracy_drop,
        objective=objective,
        provenance={"search": str(source), "supernet": record["supernet"], "command": command},
    )
    keep_latencies(facts["exports"], earlier, folder)
    record["measured"]["accuracy"] = facts["exports"][0][objective]
    # What the search compared was the network as it was before.
    compared = [key for key in ("baselines", "precisions") if record.pop(key, None)]
    record |= facts | {
        "command": command,
        "notes": [
            describe(tuned),
            *([f"What this network is compared with stands in {source}, by its accuracy there."] if compared else []),
            *trained.about_classes(),
            *data_remarks(trained),
            *file_remarks(facts["exports"], trained.data.classes, record.get("batch") or 1),
        ],
        "finetuning": {"of": str(source)} | record_of(tuned, settings, seed),
        "seconds": round(max(perf_counter() - began, tuned.seconds), 1),  # it may have been begun by an earlier call
    }
    for name in SearchResult.FILES.values():
        shutil.copyfile(source / name, folder / name)
    write_search_record(folder, record)
    return record


def finetune_chosen(
    request: SearchRequest, trained: TrainedSupernet, subnet: Subnet, folder: Path, listener: Listener
) -> tuple[Subnet, dict[str, Any] | None, str]:
    """Train the network that a search has just chosen alone, for `request.finetune_time`.

    What the search has found is not lost where that cannot be done.

    Parameters
    ----------
    trained : what `subnet` comes from; see `teacher_of`. The settings are those of `usual_finetuning`.
    folder : of the search; a killed call goes on from the checkpoint below it.

    Returns
    -------
    The network that is kept; the record of its training, None where it was not trained; and a sentence on it.
    """
    settings = Finetuning(**usual_finetuning(trained.card, given_network(trained.evaluated.folder)))
    length = request.finetune_length(trained.card.get("seconds", 0.0))
    listener.say(f"training the chosen network alone for {show_duration(parse_duration(length))}")
    give_back()
    work = partial(
        finetune,
        subnet,
        teacher_of(subnet, trained, settings),
        trained.data,
        settings,
        objective=trained.evaluated.objective,
        seed=request.seed,
        device=request.accelerator,
        threads=request.threads,
        folder=folder / FOLDER,
        train_time=length,
        listener=listener,
    )
    try:
        tuned = going_on_or_anew(work, "the training of the chosen network alone", listener)
    except (TooShort, TrainingDiverged) as error:
        sentence = f"The chosen network was not trained alone: {error}."
        listener.say(sentence)
        return subnet, None, sentence
    return tuned.subnet, record_of(tuned, settings, request.seed), describe(tuned)


def teacher_of(subnet: Subnet, trained: TrainedSupernet, settings: Finetuning) -> Subnet | None:
    """The widest network at the resolution of `subnet`, which costs less than the max net.

    None where `subnet` is that, or where `settings` say that it learns from labels alone.
    """
    if settings.label_weight == 1:
        return None
    widest, column = trained.space.max.copy(), trained.space.resolution_column
    if column is not None:
        widest[column] = subnet.genotype[column]
    return None if (widest == subnet.genotype).all() else trained.subnet(widest)


def record_of(tuned: Finetuned, settings: Finetuning, seed: int) -> dict[str, Any]:
    """What ``result.json`` says of a fine-tuning."""
    return {
        "seed": seed,
        **settings.as_dict(),
        "epochs": tuned.epochs,
        "seconds": tuned.seconds,
        "before": asdict(tuned.before),
        "after": asdict(tuned.after),
        "difference_error": tuned.difference_error,
        "kept": "after" if tuned.replaced else "before",
    }


def describe(tuned: Finetuned) -> str:
    """What came of fine-tuning, and whether the difference may be chance."""
    before, after = tuned.before, tuned.after
    tests = " before, ".join(f"{each.test:.2%} ± {each.test_error:.2%}" for each in (before, after))
    said = (
        f"Trained alone for {counted(tuned.epochs, 'epoch')}: search-validation {before.validation:.2%} before, "
        f"{after.validation:.2%} after; test {tests} after. The network as it was "
        f"{'after' if tuned.replaced else 'before'} is kept, by search-validation."
    )
    difference, error = abs(after.validation - before.validation), tuned.difference_error
    if difference <= 2 * error:
        said += (
            f" The difference on search-validation, {100 * difference:.2f} ± {100 * error:.2f} points (standard error, "
            "on the same images), may be chance."
        )
    if tuned.replaced and after.validation < before.validation:
        said += " These images had chosen the network as it was, so they count in its favour."
    return said
