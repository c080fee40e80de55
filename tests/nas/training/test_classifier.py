"""A new classifier is fitted to the features, and nothing else is changed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import tiny_data, tiny_supernet
from torch import nn

from nas.evaluation.accuracy import evaluate
from nas.supernet import Subnet
from nas.tracing import Model, adopt
from nas.training import classifier
from nas.training.classifier import best_strength, fit_classifier
from tests.nas.tracing.user_networks import Convolutional, Gated, Scale, WithoutBias


@pytest.mark.parametrize("alone", [True, False], ids=["subnet", "supernet"])
def test_only_the_classifier_changes_and_it_fits(alone: bool) -> None:
    data = tiny_data()
    network = tiny_supernet()
    net = network.extract(network.space.max) if alone else network
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert fit_classifier(net, data)
    after = net.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 1)[0] for name in changed} == {"slots.head.classify.linear"}
    most = np.bincount(data.train.labels.numpy()).max() / len(data.train)
    assert evaluate(net.eval(), "train", data) > most


def traced(module: nn.Module) -> Subnet:
    supernet = adopt(Model("given", 16, module.eval()), [16]).supernet
    return supernet.extract(supernet.space.max)


@pytest.mark.parametrize(
    "module",
    [
        Convolutional(3),
        WithoutBias(3),
        nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16, 3)),
        Gated(3),
        Gated(3, Scale(3)),
    ],
    ids=["convolution", "without bias", "of all pixels", "constant behind", "scale behind"],
)
def test_classifiers_of_other_kinds_are_fitted_too(module: nn.Module) -> None:
    data, net = tiny_data(), traced(module)
    assert fit_classifier(net, data)
    most = np.bincount(data.train.labels.numpy()).max() / len(data.train)
    assert evaluate(net.eval(), "train", data) > most + 0.1


def test_scores_are_what_was_fitted_whatever_scale_they_have() -> None:
    data, (alone, scaled) = tiny_data(), (traced(Gated(3, behind)) for behind in (nn.Identity(), Scale(3)))
    scaled.load_state_dict(alone.state_dict(), strict=False)
    images = torch.randn(4, 3, 16, 16)
    assert fit_classifier(alone, data)
    assert fit_classifier(scaled, data)
    with torch.inference_mode():
        torch.testing.assert_close(scaled.eval()(images), alone.eval()(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("behind", [Scale(3), nn.BatchNorm1d(3)])
def test_the_classifier_is_the_last_matrix_and_all_behind_it_is_new_with_it(behind: nn.Module) -> None:
    net = traced(Gated(3, behind))
    assert isinstance(net.classifier(), nn.Linear | nn.Conv2d)
    assert len(net.classifying()) == 2
    assert net.classifying()[1].weight.shape == (3,)


@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.Sigmoid(), nn.Sequential(nn.MaxPool2d(2)), nn.BatchNorm2d(3, momentum=0.5)]
)
def test_where_scores_are_not_linear_in_the_features_nothing_is_fitted_and_that_is_told(activation: nn.Module) -> None:
    net = traced(Convolutional(3, activation))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert not fit_classifier(net, tiny_data())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_the_strength_is_found_whatever_version_of_scikit_learn_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 1.9, `C_` is an array unless an argument says otherwise, which 1.7 lacks and 1.12 will lack again."""

    class Found:
        form: Any

        def __init__(self, *, Cs: Any, cv: int, max_iter: int, tol: float, scoring: str, fit_intercept: bool) -> None:
            self.cs = Cs

        def fit(self, read: Any, labels: Any) -> "Found":
            self.C_ = self.form(self.cs[1])
            return self

    monkeypatch.setattr(classifier, "LogisticRegressionCV", Found)
    read, labels = np.zeros((12, 2), dtype=np.float32), np.arange(12) % 2
    for form in (float, lambda c: np.array([c, c])):
        monkeypatch.setattr(Found, "form", staticmethod(form), raising=False)
        assert best_strength(read, labels) == classifier.STRENGTHS[1]


def test_a_rare_class_is_never_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "MOST_IMAGES", 40)
    data = tiny_data()
    labels = torch.zeros(len(data.train), dtype=torch.int64)
    labels[:2], labels[2:4] = 1, 2
    data = replace(data, train=replace(data.train, labels=labels))
    assert len(data.train) > 40
    supernet = tiny_supernet()
    assert fit_classifier(supernet, data)
    assert all(row.abs().sum() > 0 for row in supernet.classifier().weight)


def test_where_one_class_is_judged_the_strength_is_the_middle_one() -> None:
    assert best_strength(np.zeros((12, 2), dtype=np.float32), np.zeros(12, dtype=np.int64)) == 0.03


def test_shares_of_classes_stay_as_they_are() -> None:
    labels = np.arange(100_000) % 10 // 9  # nine to one
    rows = classifier._rows(labels)
    assert len(set(rows.tolist())) == len(rows) == classifier.MOST_IMAGES
    assert labels[rows].mean() == pytest.approx(0.1, abs=0.02)


def test_features_are_read_where_asked_and_the_network_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(classifier, "accelerator", lambda name: asked.append(name) or "cpu")
    network = tiny_supernet()
    monkeypatch.setattr(network, "to", lambda *to, **form: asked.append(str(to[0])) or network)
    fit_classifier(network, tiny_data(), device="auto")
    assert asked == ["auto", "cpu", "cpu"]
