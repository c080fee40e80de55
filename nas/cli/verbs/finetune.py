"""`nas finetune`: train the network of a finished search on, export it again."""

import json
from dataclasses import fields
from pathlib import Path

import torch

from nas.cli.call import Call
from nas.cli.config import FinetuneConfig
from nas.cli.console import output, remarks, track
from nas.export.checked import rejections
from nas.pipeline.finetune import specialise
from nas.progress import Listener
from nas.training import Finetuning


def run(config: FinetuneConfig, call: Call) -> int:
    """Fine-tune into the run folder, say what it brought; 1 if an int8 file lost too much accuracy."""
    settings = Finetuning(**{f.name: getattr(config, f.name) for f in fields(Finetuning)})
    device = config.accelerator
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if config.threads is not None:  # also of what is evaluated afterwards
        torch.set_num_threads(config.threads)
    record = specialise(
        Path(config.run),
        call.folder,
        settings,
        seed=config.seed,
        device=device,
        threads=config.threads,
        max_accuracy_drop=config.max_accuracy_drop / 100,
        command=call.command,
        train_time=config.train_time,
        listener=Listener(say=remarks.print, track=track),
    )
    if config.json:
        print(json.dumps(record | {"folder": str(call.folder)}))
    else:
        for note in record["notes"]:
            output.print(note, soft_wrap=True, markup=False)
        for file in record["exports"]:
            output.print(f"network  {call.folder / file['file']}", soft_wrap=True)
        output.print(f"report   {call.folder / 'report.html'}", soft_wrap=True)
    rejected = rejections(record["exports"])
    for sentence in rejected:
        remarks.print(f"nas finetune: {sentence}")
    return 1 if rejected else 0
