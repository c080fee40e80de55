import numpy as np
import pytest
from numpy.typing import NDArray

from nas.search.evolution.archive import Scores
from nas.search.evolution.choices import Places
from nas.search.evolution.evolve import EvolutionSettings, evolve
from nas.search.evolution.knapsack import Filling
from nas.search.evolution.local_search import Descent
from nas.search.evolution.surrogate import AdditiveModel, SlopedScore
from search_spaces import SPACES, Population, SearchSpace, get_space

CELLS = get_space("nasbench201")
ELASTIC = get_space("mobilenet_v3_small_images")


def limit_of(space: SearchSpace) -> float:
    return float(np.median(space.costs(space.sample(500, np.random.default_rng(1))).macs))


def by_macs(space: SearchSpace, population: Population) -> NDArray[np.float64]:
    return (space.costs(population).macs / limit_of(space) - 1)[:, None]


def random_objective(space: SearchSpace) -> AdditiveModel:
    """Random worths of operators, which here are the objective itself."""
    return AdditiveModel(space, np.random.default_rng(0).normal(size=space.encoding_width).astype(np.float32))


@pytest.mark.parametrize("name", SPACES)
def test_places_say_what_the_space_says(name: str) -> None:
    space = get_space(name)
    places = Places(space)
    rows = space.sample(20, np.random.default_rng(0))
    place, number = np.nonzero(places.valid)
    for row in rows[:5]:
        changed = places.changed(row)
        np.testing.assert_array_equal(changed, space.canonical(changed))
        present = places.present(row[None])[0]
        differs = (changed != row).any(axis=1)
        assert not differs[~present[place]].any()  # there is nothing to change where no block is
        # Of each place that is there, one operator is the row's own: the one that `numbers` tells.
        np.testing.assert_array_equal(number[~differs & present[place]], places.numbers(row[None])[0][present])
    numbers = np.random.default_rng(1).integers(0, places.valid.sum(axis=1), size=(len(rows), len(places.valid)))
    filled = places.filled(rows, numbers)
    np.testing.assert_array_equal(filled[:, places.structure], rows[:, places.structure])
    np.testing.assert_array_equal(places.numbers(filled), numbers * places.present(rows))


@pytest.mark.parametrize("name", SPACES)
def test_gains_are_what_a_change_of_one_operator_does(name: str) -> None:
    space = get_space(name)
    places, model = Places(space), random_objective(space)
    parent = space.sample(1, np.random.default_rng(0))
    gains, scale = places.gains(model.slopes(parent))
    place, number = np.nonzero(places.valid)
    own, present = places.numbers(parent)[0], places.present(parent)[0]
    does = model.predict(places.changed(parent[0])) - model.predict(parent)
    promised = gains[0, place, number] - gains[0, place, own[place]]
    np.testing.assert_allclose(promised[present[place]], does[present[place]], atol=1e-4)
    assert np.isinf(gains[0][~places.valid]).all()
    assert scale == pytest.approx(gains[0][places.valid].std(), rel=1e-5)


def test_a_fill_is_nearly_the_best_within_the_budget() -> None:
    model = random_objective(CELLS)
    everything = CELLS.from_values(np.indices((5,) * 6).reshape(6, -1).T)
    within = everything[by_macs(CELLS, everything)[:, 0] <= 0]
    best, worst = (getattr(model.predict(within), end)() for end in ("min", "max"))
    places = Places(CELLS)
    gains, scale = places.gains(model.slopes(everything[:1]))
    fill = Filling(places, lambda rows: by_macs(CELLS, rows))
    for start in everything[[0, 100, -1]]:  # from networks within and beyond the limit
        row = fill(start[None], by_macs(CELLS, start[None]), gains, scale, np.random.default_rng(0))
        assert by_macs(CELLS, row)[0, 0] <= 0  # MACs add up over the edges of a cell
        assert model.predict(row)[0] <= best + 0.1 * (worst - best)  # what the relaxation leaves of the budget


def test_fills_keep_several_limits_and_none() -> None:
    space, model = ELASTIC, random_objective(ELASTIC)
    limits = np.median(space.costs(space.sample(500, np.random.default_rng(1))).params), limit_of(space)

    def violations(rows: Population) -> NDArray[np.float64]:
        costs = space.costs(rows)
        return np.stack([costs.params / limits[0] - 1, costs.macs / limits[1] - 1], axis=1)

    places = Places(space)
    structures = np.repeat(space.min[None], 20, axis=0)
    rows = Descent(places, violations).fills(structures, model.weights, np.random.default_rng(0))
    assert (violations(rows) <= 0).all()
    assert len(np.unique(rows, axis=0)) > 5  # noise makes many answers of one
    gains, scale = places.gains(model.weights[None])
    free = Filling(places, lambda rows: np.empty((len(rows), 0)))
    unlimited = free(structures[:1], np.empty((1, 0)), gains, scale, np.random.default_rng(0))
    np.testing.assert_array_equal(unlimited, places.filled(structures[:1], gains.argmin(axis=2)))


def test_proposals_go_downhill_within_the_limit() -> None:
    space, model = ELASTIC, random_objective(ELASTIC)
    places = Places(space)
    descent = Descent(places, lambda rows: by_macs(space, rows))
    rng = np.random.default_rng(0)
    rows = space.sample(200, rng, tilt=1.5)
    proposed = descent.proposals(rows, by_macs(space, rows), model.slopes(rows), rng)
    np.testing.assert_array_equal(proposed[:, places.structure], rows[:, places.structure])
    over, within = by_macs(space, proposed)[:, 0], by_macs(space, rows)[:, 0] <= 0
    assert (over[within] <= 1e-3).all()
    assert (model.predict(proposed[within]) <= model.predict(rows[within]) + 1e-5).all()
    assert (proposed[within] != rows[within]).any(axis=1).mean() > 0.9
    # Beyond the limit the way leads back, wherever the structure leaves one.
    cheapest = by_macs(space, places.filled(rows, np.zeros_like(places.numbers(rows))))[:, 0]
    assert (over[~within & (cheapest < -0.05)] <= 1e-3).all()


class Uneven:
    """A sum over operators and over pairs of them, within a limit of MACs; its slopes are exact."""

    def __init__(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        self.space = space
        self.linear = rng.normal(size=space.encoding_width)
        self.pairs = 0.3 * rng.normal(size=(space.encoding_width,) * 2)

    def violations(self, population: Population) -> NDArray[np.float64]:
        return by_macs(self.space, population)

    def objectives(self, population: Population) -> NDArray[np.float64]:
        encoded = self.space.encode(population).astype(np.float64)
        value = encoded @ self.linear + np.einsum("nw,wv,nv->n", encoded, self.pairs, encoded, optimize=True)
        return np.asarray(value)[:, None]

    def __call__(self, population: Population) -> Scores:
        return Scores(self.objectives(population), self.violations(population))


class Sloped(Uneven):
    def slopes(self, population: Population) -> NDArray[np.float32]:
        encoded = self.space.encode(population).astype(np.float64)
        return np.asarray(self.linear + encoded @ (self.pairs + self.pairs.T), dtype=np.float32)


def test_slopes_lead_to_the_optimum_in_fewer_evaluations() -> None:
    assert isinstance(Sloped(ELASTIC), SlopedScore)
    assert not isinstance(Uneven(ELASTIC), SlopedScore)
    settings = EvolutionSettings(evaluations=4000)
    curves = {
        kind: [
            evolve(ELASTIC, kind(ELASTIC), rng=np.random.default_rng(seed), settings=settings).convergence()
            for seed in range(5)
        ]
        for kind in (Uneven, Sloped)
    }
    best = min(curve[-1, 1] for of in curves.values() for curve in of)
    needed = {kind: [curve[np.argmax(curve[:, 1] <= best), 0] for curve in of] for kind, of in curves.items()}
    for curve in curves[Sloped]:
        assert curve[-1, 1] == best
    assert np.mean(needed[Sloped]) < np.mean(needed[Uneven])
