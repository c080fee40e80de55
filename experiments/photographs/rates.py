"""How fast a trained network should learn: ``python -m experiments.photographs.rates --data FOLDER``.

FOLDER holds photographs, a folder for each class. One plain network, with the classifier fitted to its features first,
is trained on them as a baseline of a search is, in the same number of passes at each learning rate:
``results/rates.csv``.
``--network`` names EfficientNet-Lite0 or a network of torchvision whose weights torch has downloaded. Search-validation
decides; the test split is evaluated, and decides nothing.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from experiments.photographs.__main__ import add
from nas.data import DataSettings, ImageData, load_data
from nas.evaluation.accuracy import evaluate, evaluate_on_test
from nas.pipeline.baselines import Candidate
from nas.training import train
from nas.training.classifier import fit_classifier

KEYS = ["network", "side", "epochs", "learning_rate", "seed"]
LARGEST = 224  # images are stored for this, as a search stores them


def trained_at(rate: float, network: str, data: ImageData, side: int, epochs: float, seed: int) -> dict[str, object]:
    """One row of the table."""
    candidate = Candidate.make(network, data, seed)
    torch.manual_seed(seed)
    subnet = candidate.at(side)
    fit_classifier(subnet, candidate.data)
    recipe = replace(candidate.recipe, epochs=epochs, learning_rate=rate)
    with tempfile.TemporaryDirectory() as folder:
        seconds = train(subnet, candidate.data, recipe, folder, seed=seed, evaluations=1).seconds
    subnet = subnet.to("cpu").eval()
    found = {"validation": evaluate(subnet, "validation", candidate.data)}
    found["test"] = evaluate_on_test(subnet, candidate.data)
    asked = dict(zip(KEYS, (network, side, epochs, rate, seed), strict=True))
    return asked | {"seconds": round(seconds)} | {name: round(value, 4) for name, value in found.items()}


def main() -> None:
    """Train at each rate that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of photographs")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--side", type=int, default=160, help="pixels that the network reads")
    parser.add_argument("--epochs", type=float, default=4)
    parser.add_argument("--rates", default="0.0003,0.0006,0.0012,0.0024", help="with commas between")
    parser.add_argument("--seeds", default="0", help="with commas between")
    asked = parser.parse_args()
    data = load_data(DataSettings(name="folder", root=asked.data, resolution=LARGEST))
    for seed in map(int, asked.seeds.split(",")):
        for rate in map(float, asked.rates.split(",")):
            row = trained_at(rate, asked.network, data, asked.side, asked.epochs, seed)
            add([row], "rates.csv", KEYS, photographs=Path(asked.data).resolve().name)
            print(pd.DataFrame([row]).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
