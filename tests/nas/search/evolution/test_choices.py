import numpy as np
import pytest

from nas.search.evolution.choices import OperatorChoices
from nas.search.evolution.surrogate import AdditiveModel
from search_spaces import SPACES, get_space


@pytest.mark.parametrize("name", SPACES)
def test_choices_say_what_the_space_says(name: str) -> None:
    space = get_space(name)
    choices = OperatorChoices(space)
    rows = space.sample(20, np.random.default_rng(0))
    position, number = np.nonzero(choices.valid)
    for row in rows[:5]:
        changed = choices.changed(row)
        np.testing.assert_array_equal(changed, space.canonical(changed))
        present = choices.present(row[None])[0]
        differs = (changed != row).any(axis=1)
        assert not differs[~present[position]].any()  # there is nothing to change where no block is
        # Of each position that is there, one operator is the row's own: the one that `numbers` tells.
        np.testing.assert_array_equal(number[~differs & present[position]], choices.numbers(row[None])[0][present])
    numbers = np.random.default_rng(1).integers(0, choices.valid.sum(axis=1), size=(len(rows), len(choices.valid)))
    filled = choices.filled(rows, numbers)
    np.testing.assert_array_equal(filled[:, choices.structure], rows[:, choices.structure])
    np.testing.assert_array_equal(choices.numbers(filled), numbers * choices.present(rows))


@pytest.mark.parametrize("name", SPACES)
def test_gains_are_what_a_change_of_one_operator_does(name: str) -> None:
    space = get_space(name)
    choices, model = (
        OperatorChoices(space),
        AdditiveModel(space, np.random.default_rng(0).normal(size=space.encoding_width).astype(np.float32)),
    )
    parent = space.sample(1, np.random.default_rng(0))
    gains, scale = choices.gains(model.weights)
    position, number = np.nonzero(choices.valid)
    own, present = choices.numbers(parent)[0], choices.present(parent)[0]
    does = model.predict(choices.changed(parent[0])) - model.predict(parent)
    promised = gains[position, number] - gains[position, own[position]]
    np.testing.assert_allclose(promised[present[position]], does[present[position]], atol=1e-4)
    assert np.isinf(gains[~choices.valid]).all()
    assert scale == pytest.approx(gains[choices.valid].std(), rel=1e-5)
