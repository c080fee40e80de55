"""What fine-tuning brings: ``python -m experiments.finetune_cifar10 RUN`` (from the repository's root).

RUN is the folder of a finished `nas train`. The most accurate predicted network within each limit of MACs is taken
out, judged as it is, trained on by what `nas finetune` does, and trained from fresh weights by the same schedule. Every
finished line is kept in ``results/finetuning.csv``, and a training that was stopped goes on from its checkpoint in
``results/runs/``.
"""

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from experiments.conditions import differing, made_on, write_facts
from latency_tables.files import write_text
from nas.cli.console import track
from nas.evaluation.trained import TrainedSupernet
from nas.progress import Listener
from nas.search.active_learning import EvaluationPlan, learn_accuracy
from nas.search.budget import Budget
from nas.search.feasibility import check_feasibility
from nas.search.objectives import Objectives, Unknown
from nas.search.run import run_search
from nas.supernet import Subnet
from nas.training import Finetuning
from nas.training.finetune import Accuracies, Finetuned, finetune
from search_spaces import Population

RESULTS = Path(__file__).with_name("results")
KEY = ["architecture", "weights", "epochs"]


def chosen(trained: TrainedSupernet, limits: list[str], evaluations: int, seed: int) -> list[Population]:
    """The most accurate network by prediction within each limit of MACs: what `nas search --macs` proposes."""
    genotypes, unknown = [], Objectives(trained.space, Unknown(), None)
    for budget in (Budget.parse(macs=limit) for limit in limits):
        with track("evaluating subnets") as progress:
            evaluate = partial(trained.evaluated, progress=progress)
            feasibility = check_feasibility(unknown, budget, seed)
            learnt = learn_accuracy(unknown, feasibility, evaluate, plan=EvaluationPlan(evaluations), seed=seed)
        genotypes.append(run_search(replace(unknown, accuracy=learnt.predictor), feasibility, seed=seed).genotype)
    return genotypes


def rows_of(net: Subnet, weights: str, epochs: int, tuned: Finetuned) -> list[dict[str, Any]]:
    """What was found, as lines of the table: the network before, where that is worth a line, and after."""
    costs = net.space.costs(net.genotype[None])
    about = {"architecture": net.architecture, "macs": int(costs.macs[0]), "params": int(costs.params[0])}
    lines = [{"weights": weights, "epochs": epochs, **_shares(tuned.after), "seconds": tuned.seconds}]
    if weights == "fine-tuned":
        lines.insert(0, {"weights": "inherited", "epochs": 0, **_shares(tuned.before), "seconds": 0.0})
    return [about | line for line in lines]


def _shares(found: Accuracies) -> dict[str, float]:
    return {"validation": found.validation, "test": found.test}


def main() -> None:
    """Train what is not in the table yet; print the table and under which conditions it came about."""
    parser = argparse.ArgumentParser(prog="python -m experiments.finetune_cifar10", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished `nas train`")
    parser.add_argument("--macs", default="2M,3.5M,5M", help="limits, a network each (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=4, help="of fine-tuning (default %(default)s)")
    parser.add_argument("--scratch", default="", help="epochs of training from scratch, several with commas between "
                        "(default: as many as of fine-tuning)")  # fmt: skip
    parser.add_argument("--learning-rate", type=float, default=Finetuning.learning_rate, help="of fine-tuning")
    parser.add_argument("--scratch-learning-rate", type=float, default=Finetuning.learning_rate)
    parser.add_argument("--evaluations", type=int, default=80, help="subnets to fit the accuracy predictor to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS)
    words = parser.parse_args()
    torch.set_num_threads(words.threads)
    scratch = [int(epochs) for epochs in words.scratch.split(",") if epochs] or [words.epochs]
    trained = TrainedSupernet.open(words.run)
    words.out.mkdir(parents=True, exist_ok=True)
    table = words.out / "finetuning.csv"
    same = {
        "supernet": words.run.name,
        "learning_rate": {"fine-tuned": words.learning_rate, "from scratch": words.scratch_learning_rate},
        "seed": words.seed,
        "made_on": made_on("torch"),
    }
    begun = words.out / "conditions.json"
    if differ := differing(begun, same):
        parser.error(f"{table} was made with {', '.join(differ)}; name another folder by --out")
    rows = pd.read_csv(table).to_dict("records") if table.exists() else []
    facts = same | {
        "data": {"name": trained.data.name, "fingerprint": trained.data.fingerprint},
        "images": {name: len(getattr(trained.data, name)) for name in ("train", "validation", "test")},
        "threads": words.threads,
    }
    if not begun.is_file():
        write_facts(begun, facts)
    teacher = trained.subnet(trained.space.max)
    for genotype in chosen(trained, words.macs.split(","), words.evaluations, words.seed):
        for weights, epochs in (("fine-tuned", words.epochs), *(("from scratch", epochs) for epochs in scratch)):
            net, rate = trained.subnet(genotype), words.learning_rate
            if any([row[key] for key in KEY] == [net.architecture, weights, epochs] for row in rows):
                continue
            if weights == "from scratch":
                torch.manual_seed(words.seed)
                net, rate = Subnet(trained.space, genotype), words.scratch_learning_rate
            tuned = finetune(
                net,
                teacher if weights == "fine-tuned" else None,
                trained.data,
                Finetuning(epochs=epochs, learning_rate=rate),
                seed=words.seed,
                threads=words.threads,
                folder=words.out / "runs" / f"{net.architecture}_{weights.replace(' ', '-')}_{epochs}",
                listener=Listener(say=print, track=track),
            )
            rows += rows_of(net, weights, epochs, tuned)
            write_text(table, pd.DataFrame(rows).round(5).to_csv(index=False))
            print(rows[-1], flush=True)
    print(json.dumps(facts), pd.DataFrame(rows).to_string(index=False), sep="\n")


if __name__ == "__main__":
    main()
