"""Groups of parameters: what decays, and what learns more slowly."""

from typing import Literal

import numpy as np
import pytest
import torch
from tiny_run import tiny_data, tiny_recipe, tiny_supernet

from nas.training import Trainer


def test_trained_weights_get_their_share_of_the_learning_rate() -> None:
    torch.manual_seed(0)
    net = tiny_supernet()
    trainer = Trainer(net, tiny_data(), tiny_recipe(trained_share=0.25))
    trainer.train_step(0)
    rates = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    classifier = {id(parameter) for parameter in net.classifier().parameters()}
    peak = trainer.schedule.learning_rate(0)
    for parameter in net.parameters():
        assert rates[id(parameter)] == (peak if id(parameter) in classifier else 0.25 * peak)
    decayed = {id(p) for group in trainer.optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    assert decayed == {id(p) for p in net.parameters() if p.ndim > 1}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_first_step_of_adamw_is_as_long_as_the_learning_rate(optimizer: Literal["adamw", "sgd"]) -> None:
    net = tiny_supernet()
    recipe = tiny_recipe(optimizer=optimizer, learning_rate=1e-3, weight_decay=0.0, trained_share=0.5, warmup=0.0)
    trainer = Trainer(net, tiny_data(), recipe)
    classifier = {id(parameter) for parameter in net.classifier().parameters()}
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    trainer.train_step(0)
    moved: dict[bool, list[float]] = {True: [], False: []}
    for name, parameter in net.named_parameters():
        moved[id(parameter) in classifier].append(float((parameter - before[name]).detach().abs().max()))
    as_long = np.median(moved[True]), np.median(moved[False])
    assert (as_long == pytest.approx((1e-3, 5e-4), rel=0.01)) is (optimizer == "adamw")


def test_weights_decay_as_much_with_adamw() -> None:
    trainer = Trainer(tiny_supernet(), tiny_data(), tiny_recipe(optimizer="adamw", weight_decay=0.02))
    decays = {p.ndim > 1: group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert decays == {True: 0.02, False: 0.0}
