"""Groups of parameters: what decays, and what learns more slowly."""

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
