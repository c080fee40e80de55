import numpy as np
import pytest
from numpy.typing import NDArray

from nas.search.archive import Scores
from nas.search.filling import Filling
from nas.search.local_step import LocalStep
from nas.search.places import Places
from nas.search.preselection import AdditiveModel
from search_spaces import SPACES, Population, SearchSpace, get_space

SMALL = [get_space("mobilenet_v3_small_images", depths=(1, 2)), get_space("nasbench201")]
ELASTIC = get_space("mobilenet_v3_small_images")


def limit_of(space: SearchSpace) -> float:
    return float(np.median(space.costs(space.sample(500, np.random.default_rng(1))).macs))


def by_macs(space: SearchSpace, population: Population) -> NDArray[np.float64]:
    return (space.costs(population).macs / limit_of(space) - 1)[:, None]


def random_objective(space: SearchSpace) -> AdditiveModel:
    """A model of random worths of operators, which here is the objective itself."""
    rng = np.random.default_rng(0)
    known = space.sample(1000, rng, tilt=1.5)
    return AdditiveModel(space, known, space.encode(known) @ rng.normal(size=space.encoding_width))


def combinations(space: SearchSpace, model: AdditiveModel, parent: Population) -> tuple[Population, Population]:
    step = LocalStep(Places(space), lambda rows: by_macs(space, rows))
    singles = step.places.changed(parent)
    own, around = (
        Scores(model.predict(rows).astype(float)[:, None], by_macs(space, rows)) for rows in (parent[None], singles)
    )
    return step.combinations(parent, own, singles, around, model, 50, np.random.default_rng(0))


@pytest.mark.parametrize("name", SPACES)
def test_places_say_what_the_space_says(name: str) -> None:
    space = get_space(name)
    places = Places(space)
    rows = space.sample(20, np.random.default_rng(0))
    place, number = places.changes
    for row in rows[:5]:
        changed = places.changed(row)
        np.testing.assert_array_equal(changed, space.canonical(changed))
        present = places.present(row[None])[0]
        differs = (changed != row).any(axis=1)
        assert not differs[~present[place]].any()  # there is nothing to change where no block is
        # Of each place that is there, one operator is the row's own.
        same = np.bincount(place[~differs], minlength=len(present))
        np.testing.assert_array_equal(same[present], 1)
    numbers = np.random.default_rng(1).integers(0, places.valid.sum(axis=1), size=(len(rows), len(places.valid)))
    filled = places.filled(rows, numbers)
    np.testing.assert_array_equal(places.bare(filled), places.bare(rows))
    for i in np.flatnonzero(places.present(rows)[0]):
        single = places.changed(filled[0])[(place == i) & (number == numbers[0, i])]
        np.testing.assert_array_equal(single[0], filled[0])


def test_neighbours_have_one_or_two_near_changes_of_structure() -> None:
    space = get_space("mobilenet_v3", resolutions=(160, 176, 192, 208, 224))
    places = Places(space)
    parent = space.canonical(space.sample(1, np.random.default_rng(0)))[0]
    rows = places.neighbours(parent)
    differs = rows != parent
    assert set(np.flatnonzero(differs.any(axis=0))) <= set(places.structure)
    assert set(differs.sum(axis=1)) == {1, 2}
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert np.abs(rows.astype(int) - parent).max() <= 2
    assert len(Places(get_space("nasbench201")).neighbours(np.zeros(6, np.int16))) == 0


def test_a_fill_is_nearly_the_best_within_the_budget() -> None:
    space = get_space("nasbench201")
    model = random_objective(space)
    everything = space.from_values(np.indices((5,) * 6).reshape(6, -1).T)
    within = everything[by_macs(space, everything)[:, 0] <= 0]
    best, worst = (getattr(model.predict(within), end)() for end in ("min", "max"))
    step = LocalStep(Places(space), lambda rows: by_macs(space, rows))
    rows, sums = Filling(step.places, lambda rows: by_macs(space, rows))(
        everything[:1], step._gains(model), np.zeros(1), np.random.default_rng(0)
    )
    assert by_macs(space, rows)[0, 0] <= 0  # MACs add up over the edges of a cell
    assert model.predict(rows)[0] <= best + 0.1 * (worst - best)  # what the relaxation leaves of the budget
    assert sums[0] == pytest.approx(model.predict(rows)[0] - model.predict(everything[:1])[0], abs=1e-4)


def test_fills_keep_several_limits_and_none() -> None:
    space, model = ELASTIC, random_objective(ELASTIC)
    limits = np.median(space.costs(space.sample(500, np.random.default_rng(1))).params), limit_of(space)

    def violations(rows: Population) -> NDArray[np.float64]:
        costs = space.costs(rows)
        return np.stack([costs.params / limits[0] - 1, costs.macs / limits[1] - 1], axis=1)

    step = LocalStep(Places(space), violations)
    structures = np.repeat(space.min[None], 20, axis=0)
    rows, _ = Filling(step.places, violations)(
        structures, step._gains(model), np.full(20, 0.5), np.random.default_rng(0)
    )
    assert (violations(rows) <= 0).all()
    assert len(np.unique(rows, axis=0)) > 5  # noise makes many answers of one
    free = Filling(step.places, lambda rows: np.empty((len(rows), 0)))
    unlimited, _ = free(structures[:1], step._gains(model), np.zeros(1), np.random.default_rng(0))
    best = step.places.filled(structures[:1], step._gains(model).argmin(axis=1)[None])
    np.testing.assert_array_equal(unlimited, best)


@pytest.mark.parametrize("space", SMALL, ids=lambda space: space.name)
def test_finds_the_best_pair_of_changes_within_the_budget(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    model = random_objective(space)
    known = space.sample(1000, rng, tilt=1.5)
    parent = known[by_macs(space, known)[:, 0] <= 0][0]
    same, _ = combinations(space, model, parent)
    assert (by_macs(space, same) <= 0).all()
    # No better network of the same structure is found by a hundred thousand random changes of two genes each.
    rows = np.repeat(parent[None], 100_000, axis=0)
    free = [i for i in range(len(space.genes)) if i not in Places(space).structure]
    for _ in range(2):
        gene = rng.choice(free, len(rows))
        rows[np.arange(len(rows)), gene] = (rng.random(len(rows)) * space.n_choices[gene]).astype(np.int16)
    rows = space.canonical(rows)
    rows = rows[by_macs(space, rows)[:, 0] <= 0]
    assert model.predict(same).min() <= model.predict(rows).min() + 1e-4


def test_other_structures_keep_the_budget_and_are_spent_well() -> None:
    model = random_objective(ELASTIC)
    parent = ELASTIC.min
    _, others = combinations(ELASTIC, model, parent)
    structure = Places(ELASTIC).structure
    assert 10 < len(others) <= 50
    assert (by_macs(ELASTIC, others) <= 0).all()
    assert (others[:, structure] != parent[structure]).any(axis=1).all()
    sample = ELASTIC.sample(5000, np.random.default_rng(3))
    sample = sample[by_macs(ELASTIC, sample)[:, 0] <= 0]
    assert model.predict(others).min() < model.predict(sample).min()
