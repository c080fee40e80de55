"""`nas finetune`: train the network of a finished search on, keep the better, export it again."""

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
from nas.training.duration import parse_duration


def run(config: FinetuneConfig, call: Call) -> int:
    """Fine-tune into the run folder, say what it brought; 1 if an int8 file lost too much accuracy."""
    settings = Finetuning.from_dict({f.name: getattr(config, f.name) for f in fields(Finetuning)})
    if config.train_time is not None:
        parse_duration(config.train_time)  # a mistake shows before the images are read
    device = config.accelerator
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
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
        output.print(record["notes"][0], soft_wrap=True)
        for file in record["exports"]:
            output.print(f"network  {call.folder / file['file']}", soft_wrap=True)
        output.print(f"report   {call.folder / 'report.html'}", soft_wrap=True)
    rejected = rejections(record["exports"])
    for sentence in rejected:
        remarks.print(f"nas finetune: {sentence}")
    return 1 if rejected else 0
