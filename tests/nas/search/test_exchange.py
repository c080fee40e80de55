import numpy as np
import pytest
from numpy.typing import NDArray

from nas.search.exchange import Exchanges
from nas.search.preselection import AdditiveModel
from search_spaces import Population, SearchSpace, get_space

SPACES = [get_space("mobilenet_v3_small_images", depths=(1, 2)), get_space("nasbench201")]


def by_macs(space: SearchSpace, population: Population) -> NDArray[np.float64]:
    limit = float(np.median(space.costs(space.sample(500, np.random.default_rng(1))).macs))
    return (space.costs(population).macs / limit - 1)[:, None]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_finds_the_best_pair_of_changes_within_the_budget(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    known = space.sample(1000, rng, tilt=1.5)
    weights = rng.normal(size=space.encoding_width)
    model = AdditiveModel(space, known, space.encode(known) @ weights)
    parents = known[(by_macs(space, known)[:, 0] <= 0)][:3]
    children = Exchanges(space).around(parents, model, lambda rows: by_macs(space, rows), 50)
    np.testing.assert_array_equal(children, space.canonical(children))
    assert len(children) <= 3 * 50 + 3 * sum(2 * 9 for _ in space.slots) + 3 * 20
    within = children[by_macs(space, children)[:, 0] <= 0]
    # No better network is found by a hundred thousand random changes of two genes each.
    rows = np.repeat(parents, 30_000, axis=0)
    for _ in range(2):
        gene = rng.integers(0, len(space.genes), len(rows))
        rows[np.arange(len(rows)), gene] = (rng.random(len(rows)) * space.n_choices[gene]).astype(np.int16)
    rows = space.canonical(rows)
    rows = rows[by_macs(space, rows)[:, 0] <= 0]
    assert model.predict(within).min() <= model.predict(rows).min() + 1e-4


def test_pairs_pay_for_each_other() -> None:
    space = SPACES[1]
    known = space.sample(1000, np.random.default_rng(0))
    model = AdditiveModel(space, known, -space.costs(known).macs / 1e6)
    at_the_limit = known[[by_macs(space, known)[:, 0].argmax()]]
    limit = space.costs(at_the_limit).macs[0]
    children = Exchanges(space).around(
        at_the_limit, model, lambda rows: (space.costs(rows).macs / limit - 1)[:, None], 100
    )
    assert len(children) > 0
    assert (space.costs(children).macs <= limit).all()  # MACs do add up here
    assert ((children != at_the_limit).sum(axis=1) == 2).any()
