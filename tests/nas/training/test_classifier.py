"""A new classifier is fitted to the features, and nothing else is changed."""

import numpy as np
import pytest
import torch
from tiny_run import tiny_data, tiny_supernet

from nas.evaluation.accuracy import evaluate
from nas.training.classifier import fit_classifier


@pytest.mark.parametrize("alone", [True, False], ids=["subnet", "supernet"])
def test_only_the_classifier_changes_and_it_fits(alone: bool) -> None:
    data = tiny_data()
    network = tiny_supernet()
    net = network.extract(network.space.max) if alone else network
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fit_classifier(net, data)
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} == {"slots.head.classify.linear"}
    most = np.bincount(data.train.labels.numpy()).max() / len(data.train)
    assert evaluate(net.eval(), "train", data) > most
