"""What was evaluated is not evaluated again, not lost, not mixed, and not believed when damaged."""

from pathlib import Path

import numpy as np
import pytest
from tiny_run import tiny_data, tiny_run

from nas.evaluation import cache
from nas.evaluation.cache import EvaluatedSubnets
from nas.supernet import load_supernet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    tiny_run(folder)
    return folder


def opened(folder: Path, notes: Path, objective: str = "accuracy") -> EvaluatedSubnets:
    return EvaluatedSubnets(load_supernet(folder)[0], tiny_data(), folder, objective=objective, notes=notes)


def test_two_searches_at_once_keep_each_others_evaluations(folder: Path, tmp_path: Path) -> None:
    one, other = opened(folder, tmp_path), opened(folder, tmp_path)
    population = one.supernet.space.sample(6, np.random.default_rng(0))
    for i in range(3):
        one(population[i : i + 1])
        other(population[3 + i : 4 + i])
    both = opened(folder, tmp_path)
    both.evaluate = None  # type: ignore[method-assign,assignment]
    assert np.isfinite(both(population)).all()


def test_objectives_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    plain, balanced = opened(folder, tmp_path), opened(folder, tmp_path, "balanced_accuracy")
    population = plain.supernet.space.sample(3, np.random.default_rng(0))
    plain(population)
    assert len(balanced.known) == 0
    balanced(population)
    assert {path.name for path in tmp_path.glob("*.csv")} == {"accuracy.csv", "balanced_accuracy.csv"}
    assert plain.identity.study != balanced.identity.study


@pytest.mark.parametrize(
    "damage", ["x", "nan,1", "1.5,1", "-0.1,1", "0.5", "0.5,x", "0.5,-1", "0.5,inf", "0.5,1,1", ""]
)
def test_a_damaged_line_is_named(folder: Path, tmp_path: Path, damage: str) -> None:
    first = opened(folder, tmp_path)
    first(first.supernet.space.sample(2, np.random.default_rng(0)))
    path = tmp_path / "accuracy.csv"
    lines = path.read_text().splitlines()
    lines[2] = lines[2].partition(",")[0] + "," + damage
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="accuracy.csv is damaged in line 3: .* delete the file"):
        opened(folder, tmp_path)


def test_losses_are_kept_and_files_of_accuracies_alone_are_read(folder: Path, tmp_path: Path) -> None:
    first = opened(folder, tmp_path)
    population = first.supernet.space.sample(4, np.random.default_rng(0))
    assert np.isnan(first.losses(population)).all()
    accuracy = first(population[:2])
    losses = first.losses(population)
    assert (losses[:2] > 0).all()
    assert np.isnan(losses[2:]).all()
    again = opened(folder, tmp_path)
    again.evaluate = None  # type: ignore[method-assign,assignment]
    np.testing.assert_array_equal(again(population[:2]), accuracy)
    np.testing.assert_array_equal(again.losses(population), losses)

    path = tmp_path / "accuracy.csv"
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in path.read_text().splitlines()))
    earlier = opened(folder, tmp_path)
    np.testing.assert_array_equal(earlier(population[:3])[:2], accuracy)
    assert np.isfinite(earlier.losses(population)).tolist() == [False, False, True, False]
    np.testing.assert_array_equal(opened(folder, tmp_path).losses(population), earlier.losses(population))


def test_every_evaluation_gives_memory_back(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[None] = []
    monkeypatch.setattr(cache, "give_back", lambda: given.append(None))
    evaluated = opened(folder, tmp_path)
    population = evaluated.supernet.space.sample(3, np.random.default_rng(0))
    evaluated.evaluate(population[0])  # what workers, and searches with a storage, call
    assert len(given) == 1
    evaluated(population[1:])
    assert len(given) == 3
