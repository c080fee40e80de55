from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from predictors.accuracy import AccuracyPredictor
from predictors.latency.profile import fingerprint
from search_spaces import SearchSpace, get_space

NOISE = 0.004


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return get_space("mobilenet_v3_small_images")


def truth(space: SearchSpace, population: np.ndarray, seed: int) -> np.ndarray:
    weights = np.random.default_rng(seed).normal(size=space.encode(population).shape[1])
    cost = np.log(space.costs(population).macs / space.costs(space.max).macs)
    return 0.9 + 0.05 * cost + 0.002 * space.encode(population) @ weights


def fitted(space: SearchSpace, n: int, seed: int) -> AccuracyPredictor:
    rng = np.random.default_rng(seed)
    population = space.sample(n, rng)
    return AccuracyPredictor(space).fit(population, truth(space, population, seed) + NOISE * rng.normal(size=n))


@pytest.mark.parametrize("n", [40, 100])
def test_held_out_error_and_intervals_are_honest(space: SearchSpace, n: int) -> None:
    actual, claimed, within = [], [], []
    for seed in range(5):
        predictor = fitted(space, n, seed)
        rng = np.random.default_rng(100 + seed)
        population = space.sample(1000, rng)
        accuracy = truth(space, population, seed) + NOISE * rng.normal(size=1000)
        mean, std = predictor.predict(population, return_std=True)
        actual.append(np.sqrt(np.mean((mean - accuracy) ** 2)))
        claimed.append(predictor.rmse_)
        within.append([(np.abs(mean - accuracy) <= k * std).mean() for k in (1, 2)])
        assert actual[-1] < 0.65 * accuracy.std()
    assert np.mean(claimed) == pytest.approx(np.mean(actual), rel=0.2)
    one, two = np.mean(within, axis=0)
    assert 0.60 <= one <= 0.76
    assert two >= 0.93


def test_more_observations_predict_better(space: SearchSpace) -> None:
    assert fitted(space, 150, 0).rmse_ < fitted(space, 20, 0).rmse_


def test_accuracy_stays_a_fraction(space: SearchSpace) -> None:
    population = space.sample(30, np.random.default_rng(0))
    accuracy = np.clip(0.999 + 0.01 * np.log(space.costs(population).macs / space.costs(population).macs.max()), 0, 1)
    predicted = AccuracyPredictor(space).fit(population, accuracy).predict(space.max[None])
    assert 0 <= predicted[0] <= 1


def test_equal_accuracies_are_no_trouble(space: SearchSpace) -> None:
    population = space.sample(10, np.random.default_rng(0))
    mean, std = AccuracyPredictor(space).fit(population, np.full(10, 0.1)).predict(population, return_std=True)
    np.testing.assert_allclose(mean, 0.1, atol=1e-3)
    assert (std > 0).all()


@pytest.mark.parametrize(
    ("n", "accuracy", "message"),
    [
        (3, [0.5] * 3, "at least 5"),
        (6, [0.5] * 5, "as many"),
        (6, [75.0] * 6, "divide percentages"),
        (6, [np.nan] * 6, "0 and 1"),
    ],
)
def test_mistakes_are_one_sentence(space: SearchSpace, n: int, accuracy: list[float], message: str) -> None:
    population = space.sample(n, np.random.default_rng(0))
    with pytest.raises(ValueError, match=message):
        AccuracyPredictor(space).fit(population, np.array(accuracy))


def test_predicting_before_fitting_says_so(space: SearchSpace) -> None:
    with pytest.raises(ValueError, match=r"call fit"):
        AccuracyPredictor(space).predict(space.min)


def test_what_was_saved_when_names_had_fewer_options_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, wide = (get_space("nasbench201", channels=channels, cells=1) for channels in (8, 32))
    predictor = fitted(small, 8, 0)
    monkeypatch.setattr(small, "name", "nasbench201")
    predictor.save(tmp_path / "accuracy.safetensors")
    monkeypatch.undo()
    found = AccuracyPredictor.load(tmp_path / "accuracy.safetensors", small)
    np.testing.assert_array_equal(found.predict(small.max[None]), predictor.predict(small.max[None]))
    predictor.save(tmp_path / "accuracy.safetensors")
    with pytest.raises(ValueError, match="was made for another space"):
        AccuracyPredictor.load(tmp_path / "accuracy.safetensors", wide)


def test_what_another_processor_saved_is_read(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, path = fitted(space, 8, 0), tmp_path / "accuracy.safetensors"
    encoded = predictor._encoded()
    for difference, message in ((1e-5, None), (0.1, "when networks were encoded differently")):
        monkeypatch.setattr(predictor, "_encoded", lambda by=difference: encoded + np.float32(by))
        predictor.save(path)
        if message is None:
            found = AccuracyPredictor.load(path, space)
            np.testing.assert_array_equal(found.predict(space.max[None]), predictor.predict(space.max[None]))
        else:
            with pytest.raises(ValueError, match=message):
                AccuracyPredictor.load(path, space)


def test_a_file_of_an_earlier_version_is_read(space: SearchSpace, tmp_path: Path) -> None:
    predictor, path = fitted(space, 8, 0), tmp_path / "accuracy.safetensors"
    predictor.save(path)
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in ("mean", "factor", "numbers")}
    for encoding, message in ((fingerprint(predictor._encoding), None), ("another", "encoded differently")):
        path.write_bytes(save(arrays, {"space": space.name, "encoding": encoding}))
        if message is None:
            assert AccuracyPredictor.load(path, space).n_observations_ == 8
        else:
            with pytest.raises(ValueError, match=message):
                AccuracyPredictor.load(path, space)
