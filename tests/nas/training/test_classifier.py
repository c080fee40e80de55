"""A new classifier is fitted to the features, and nothing else is changed."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_data, tiny_supernet

from nas.evaluation.accuracy import evaluate
from nas.training import classifier
from nas.training.classifier import best_strength, fit_classifier


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


def test_the_strength_is_found_whatever_version_of_scikit_learn_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 1.9, `C_` is an array unless an argument says otherwise, which 1.7 lacks and 1.12 will lack again."""

    class Found:
        form: Any

        def __init__(self, *, Cs: Any, cv: int, max_iter: int, tol: float, scoring: str) -> None:
            self.cs = Cs

        def fit(self, read: Any, labels: Any) -> "Found":
            self.C_ = self.form(self.cs[1])
            return self

    monkeypatch.setattr(classifier, "LogisticRegressionCV", Found)
    read, labels = np.zeros((12, 2), dtype=np.float32), np.arange(12) % 2
    for form in (float, lambda c: np.array([c, c])):
        monkeypatch.setattr(Found, "form", staticmethod(form), raising=False)
        assert best_strength(read, labels) == classifier.STRENGTHS[1]
