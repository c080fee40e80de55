"""The network of a finished search trained on, judged, and exported again into a run folder of its own.

That folder is one of a finished search too: it can be exported, reported and fine-tuned again. Latency is not
measured again, since it does not depend on weights.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from latency_tables.files import write_text
from nas.deployment import WEIGHTS, deploy_subnet, search_record
from nas.export.checked import sentence, write_record
from nas.export.network_file import FileKind
from nas.report.html import write_report
from nas.search.result import SearchResult
from nas.supernet import load_subnet
from nas.training.finetune import Finetuned, Finetuning, finetune
from nas.training.run import TrainedSupernet


def specialise(
    source: Path,
    folder: Path,
    settings: Finetuning,
    *,
    seed: int = 0,
    device: str = "cpu",
    max_accuracy_drop: float = 0.01,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fine-tune the network of the search in `source` with the supernet's max net as its teacher.

    Parameters
    ----------
    source : run folder of a finished search, or of an earlier call.
    folder : where the result goes: the better network, in the formats that `source` has.
    settings, seed, device, progress : see `nas.training.finetune.finetune`.
    max_accuracy_drop : of int8 files against float32, as a fraction.
    command : what was typed, for the record.

    Returns
    -------
    The record, as in ``result.json``; under ``finetuning`` the accuracies before and after.

    Raises
    ------
    ValueError : `source` is no finished search.
    TrainingDiverged : a loss was not finite; nothing is written then.
    """
    record = search_record(source)
    trained = TrainedSupernet.open(Path(record["supernet"]))
    subnet = load_subnet(source / WEIGHTS).eval()
    teacher = trained.subnet(trained.space.max)
    tuned = finetune(subnet, teacher, trained.data, settings, seed=seed, device=device, progress=progress)
    earlier = record["exports"]
    facts = deploy_subnet(
        tuned.subnet,
        trained.data,
        folder,
        [FileKind(export["format"], export["precision"]) for export in earlier],
        batch=next((export["batch"] for export in earlier if export["format"] == "onnx"), 1),
        max_accuracy_drop=max_accuracy_drop,
        provenance={"search": str(source), "supernet": record["supernet"], "command": command},
    )
    for old, new in zip(earlier, facts["exports"], strict=True):
        if "latency" in old:
            new["latency"] = old["latency"]
            write_record(folder, new)
    own = facts["exports"][0]
    record["measured"]["accuracy"] = own.get("accuracy", max(tuned.before.validation, tuned.after.validation))
    facts["notes"] = [describe(tuned, settings), *map(sentence, facts["exports"])]
    record |= facts | {
        "command": command,
        "finetuning": {
            "of": str(source),
            "seed": seed,
            **asdict(settings),
            "seconds": tuned.seconds,
            "before": asdict(tuned.before),
            "after": asdict(tuned.after),
            "kept": "after" if tuned.improved else "before",
        },
    }
    for name in SearchResult.FILES.values():
        shutil.copyfile(source / name, folder / name)
    write_text(folder / "result.json", json.dumps(record, indent=2) + "\n")
    write_report(folder)
    return record


def describe(tuned: Finetuned, settings: Finetuning) -> str:
    """What came of fine-tuning, in one sentence."""
    before, after = tuned.before, tuned.after
    epochs = f"{settings.epochs} epoch{'s' if settings.epochs > 1 else ''}"
    return (
        f"Fine-tuned for {epochs}: search-validation {before.validation:.2%} before, {after.validation:.2%} after; "
        f"test {before.test:.2%} before, {after.test:.2%} after; kept the network "
        f"{'after' if tuned.improved else 'before'}, by search-validation."
    )
