"""Figures by class agree with scikit-learn's, and what is said of them is said where it is true and only there."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, recall_score

from nas.evaluation.confusion import (
    Confusion,
    imbalance_remarks,
    majority_remarks,
    paired_error,
    score_error,
    small_split_remarks,
    standard_error,
    unlike_splits_remarks,
)
from nas.search.objectives import check_objective


def test_figures_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(4, 300, p=[0.7, 0.1, 0.1, 0.1])
    predicted = np.where(rng.random(300) < 0.6, labels, rng.choice(4, 300))
    found = Confusion.of(labels, predicted, 4)
    assert found.images == 300
    assert found.accuracy == (labels == predicted).mean()
    assert found.score("balanced_accuracy") == pytest.approx(balanced_accuracy_score(labels, predicted))
    np.testing.assert_allclose(found.recall, recall_score(labels, predicted, average=None))
    record = found.record()
    assert record["confusion_matrix"] == found.counts.tolist()
    largest = max(found.counts[i, j] for i in range(4) for j in range(4) if i != j)
    assert record["most_confused"][0]["images"] == largest


def test_a_class_without_images_has_no_recall() -> None:
    found = Confusion.of([0, 0, 1, 1], [0, 1, 1, 2], 3)
    assert found.record()["recall"] == [0.5, 0.5, None]
    assert found.balanced_accuracy == 0.5
    assert np.isfinite(found.balanced_accuracy_error)


def test_many_classes_have_no_matrix_in_the_record() -> None:
    labels = np.arange(101)
    assert "confusion_matrix" not in Confusion.of(labels, labels, 101).record()
    assert "confusion_matrix" in Confusion.of(labels[:100], labels[:100], 100).record()


def test_the_standard_error_is_the_usual_one_for_many_images_and_not_zero_for_few() -> None:
    assert standard_error(0.8, 10_000) == pytest.approx(np.sqrt(0.16 / 10_000), rel=1e-3)
    assert 0.1 < standard_error(1.0, 3) < 0.25
    # It covers: in 68 % of the samples or more, the truth is within one error.
    shares = np.random.default_rng(0).binomial(200, 0.9, 10_000) / 200
    assert 0.64 < (abs(shares - 0.9) <= standard_error(shares, 200)).mean() < 0.75


def test_the_error_of_a_score_alone_is_that_of_equal_recalls() -> None:
    labels = np.repeat([0, 1], [40, 400])
    found = Confusion.of(labels, np.where(np.arange(440) % 10 == 0, 1 - labels, labels), 3)  # recalls of 90 %
    for objective in ("accuracy", "balanced_accuracy"):
        error = score_error(found.score(objective), found.per_class, objective)
        assert error == pytest.approx(found.score_error(objective))
    assert error > 1.5 * standard_error(0.9, 440)


def test_a_network_that_gives_one_class_is_called_that() -> None:
    labels = [0] * 400 + [1] * 12 + [2] * 12
    (said,) = majority_remarks(Confusion.of(labels, [0] * 424, 3).record(), ("ok", "dent", "scratch"), "test")
    assert said == (
        "The network is no better than one that answers 'ok' to every image: 94.3% of the test images against 94.3%."
    )
    hardly = Confusion.of(labels, [0] * 400 + [1] + [0] * 23, 3).record()
    assert "better by less than the standard error" in majority_remarks(hardly, ("ok", "dent", "scratch"), "test")[0]
    assert majority_remarks(Confusion.of(labels, labels, 3).record(), ("ok", "dent", "scratch"), "test") == []


def test_a_network_judged_by_balanced_accuracy_is_compared_by_that() -> None:
    labels, names = [0] * 400 + [1] * 12 + [2] * 12, ("ok", "dent", "scratch")
    rare = [0] * 300 + [1] * 112 + [2] * 12  # finds all rare ones, at the cost of accuracy
    assert majority_remarks(Confusion.of(labels, rare, 3).record(), names, "test") != []
    assert majority_remarks(Confusion.of(labels, rare, 3).record(), names, "test", "balanced_accuracy") == []
    (said,) = majority_remarks(Confusion.of(labels, [0] * 424, 4).record(), names, "test", "balanced_accuracy")
    assert said == (
        "The network is no better than one that answers 'ok' to every image: balanced accuracy 33.3% on the test "
        "images against 33.3%."
    )


def test_small_splits_and_unequal_classes_are_said() -> None:
    (said,) = small_split_remarks(10, "test")
    assert said.startswith(
        "There are only 10 test images: an accuracy on them has a standard error of up to 15.8 points"
    )
    assert small_split_remarks(100, "test") == []
    assert small_split_remarks(99, "test") != []
    (said,) = imbalance_remarks([400, 12, 13], ("ok", "dent", "scratch"), "accuracy")
    assert "400 training images of 'ok', 12 of 'dent'" in said
    assert "objective=balanced_accuracy" in said
    (said,) = imbalance_remarks([400, 12, 13], ("ok", "dent", "scratch"), "balanced_accuracy")
    assert "objective=" not in said
    assert "recipe.balance_classes=true" in said
    (said,) = imbalance_remarks([400, 12, 13], ("ok", "dent", "scratch"), "balanced_accuracy", balanced_training=True)
    assert "recipe." not in said
    assert imbalance_remarks([50, 10], ("a", "b"), "accuracy") == []


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(ValueError, match="must be accuracy or balanced_accuracy, got 'f1'"):
        check_objective("f1")


def accuracies(validation: float, test: float, error: float = 0.01) -> dict[str, float]:
    return {
        "accuracy": validation,
        "accuracy_error": error,
        "test_accuracy": test,
        "test_accuracy_error": error,
    }


def test_a_test_split_that_is_much_harder_is_said() -> None:
    (said,) = unlike_splits_remarks(accuracies(0.962, 0.674))
    assert "67.4% against 96.2%" in said
    assert "give a val/ folder" in said


@pytest.mark.parametrize(
    ("validation", "test", "error"), [(0.96, 0.93, 0.001), (0.9, 0.8, 0.03), (0.7, 0.9, 0.01), (0.9, 0.9, 0.0)]
)
def test_chance_small_differences_and_easier_tests_are_not_said(validation: float, test: float, error: float) -> None:
    assert unlike_splits_remarks(accuracies(validation, test, error)) == []


@pytest.mark.parametrize("objective", ["accuracy", "balanced_accuracy"])
def test_the_error_of_a_difference_on_the_same_images_is_what_resampling_them_says(objective: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 600, p=[0.5, 0.3, 0.2])
    first = np.where(rng.random(600) < 0.85, labels, (labels + 1) % 3)
    second = np.where(rng.random(600) < 0.1, (labels + 1) % 3, first)

    def difference(rows: np.ndarray) -> float:
        of = (Confusion.of(labels[rows], predicted[rows], 3).score(objective) for predicted in (first, second))
        return next(of) - next(of)

    drawn = [
        difference(np.concatenate([rng.choice(np.flatnonzero(labels == c), (labels == c).sum()) for c in range(3)]))
        for _ in range(400)
    ]
    assert paired_error(first, second, labels, objective) == pytest.approx(np.std(drawn), rel=0.15)
    assert paired_error(first, second, labels, objective) == paired_error(second, first, labels, objective)


def test_networks_that_agree_differ_by_little_and_never_by_nothing_for_sure() -> None:
    labels = np.zeros(100, dtype=int)
    assert paired_error(labels, labels, labels) == pytest.approx(1 / 102)
