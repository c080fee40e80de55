"""The pool of random subnets: what it holds at a step, and training that draws from it."""

import numpy as np
import pytest
import torch
from tiny_run import tiny_data, tiny_recipe, tiny_supernet

from nas.training import Phase, Trainer
from nas.training.pool import RENEW_EVERY, SIZE, SubnetPool
from nas.training.samplers import sample_step
from search_spaces import Population, get_space

PHASE = Phase(name="all", share=1.0, sampler="sandwich", n_random=2, target="max_net")


def pool(seed: int = 0, start: int = 0, phase: Phase = PHASE) -> SubnetPool:
    return SubnetPool(get_space("mobilenet_v3"), phase, seed, start)


def names(rows: Population) -> list[str]:
    return get_space("mobilenet_v3").format(rows)


def test_one_subnet_is_renewed_at_a_time_and_each_lives_equally_long() -> None:
    watched = pool(start=5)
    lives: dict[tuple[int, str], list[int]] = {}
    for step in range(5, 5 + 3 * SIZE * RENEW_EVERY):
        for place, name in enumerate(names(watched.members(step))):
            lives.setdefault((place, name), []).append(step)
    assert len(lives) == SIZE + 3 * SIZE - 1  # a renewal after every RENEW_EVERY steps, but not at the first
    whole = [steps for steps in lives.values() if steps[0] > 5 and steps[-1] < 4 + 3 * SIZE * RENEW_EVERY]
    assert {steps[-1] - steps[0] + 1 for steps in whole} == {SIZE * RENEW_EVERY}
    assert all(np.array_equal(steps, range(steps[0], steps[-1] + 1)) for steps in lives.values())
    births = sorted(steps[0] for steps in lives.values())[SIZE:]
    assert births == list(range(5 + RENEW_EVERY, 5 + 3 * SIZE * RENEW_EVERY, RENEW_EVERY))


@pytest.mark.parametrize("step", [0, 7, RENEW_EVERY, 10_000])
def test_what_it_holds_follows_from_seed_and_step_alone(step: int) -> None:
    walked = pool(seed=3)
    for earlier in range(max(0, step - 2 * RENEW_EVERY), step):
        walked.members(earlier)
    np.testing.assert_array_equal(walked.members(step), pool(seed=3).members(step))
    draws = [each.draw(step, np.random.default_rng(step)) for each in (walked, pool(seed=3))]
    np.testing.assert_array_equal(*draws)
    assert not np.array_equal(pool(seed=4).members(step), walked.members(step))
    assert not np.array_equal(pool(seed=3, start=RENEW_EVERY).members(step + RENEW_EVERY), walked.members(step))


def test_draws_are_different_members_and_all_of_them_come() -> None:
    fixed = pool(phase=Phase(name="many", share=1.0, sampler="random", n_random=SIZE + 3))
    assert len(set(names(fixed.draw(0, np.random.default_rng(0))))) == SIZE + 3
    members = set(names(pool().members(0)))
    seen = [names(pool().draw(0, np.random.default_rng(seed))) for seed in range(200)]
    assert all(len(set(drawn)) == 2 for drawn in seen)
    assert {name for drawn in seen for name in drawn} == members


@pytest.mark.parametrize("draw", ["uniform", "coupled", "budget"])
def test_members_are_drawn_as_the_phase_says(draw: str) -> None:
    opened = None if draw == "budget" else {"depth": 2, "expansion": 2}
    phase = Phase(name="some", share=1.0, sampler="random", n_random=1, draw=draw, open=opened)  # type: ignore[arg-type]
    rows = pool(phase=phase).members(0)
    space = get_space("mobilenet_v3")
    np.testing.assert_array_equal(space.canonical(rows), rows)
    if opened:
        closed = np.array([gene.kind not in opened for gene in space.genes]) & space.active(rows)
        assert (rows == space.max)[closed].all()


def recipe() -> object:
    return tiny_recipe(phases=[{"name": "max", "share": 0.25}, {"name": "all", "share": 0.75, "sampler": "sandwich",
                                "n_random": 2, "target": "max_net", "sort_channels": True}])  # fmt: skip


def trained(trainer: Trainer, steps: range) -> list[dict[str, float]]:
    return [trainer.train_step(step) for step in steps]


def test_training_from_the_pool_is_the_plain_step_on_its_subnets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.training.pool.RENEW_EVERY", 3)
    pooled = Trainer(tiny_supernet(), tiny_data(), recipe(), seed=7, pooled=True)
    plain = Trainer(tiny_supernet(), tiny_data(), recipe(), seed=7)
    space, phases = plain.network.space, plain.recipe.phases
    drawn: list[Population] = []

    def given(step: int, rng: np.random.Generator) -> Population:
        if step < 5:
            return sample_step(space, phases[0], rng)
        drawn.append(SubnetPool(space, phases[1], 7, 5).draw(step, rng))
        return space.canonical(np.concatenate([space.max[None], space.min[None], drawn[-1]]))

    plain._subnets = given  # type: ignore[method-assign]
    assert trained(pooled, range(20)) == trained(plain, range(20))
    assert len(np.unique(np.concatenate(drawn), axis=0)) > 4
    for name, parameter in plain.parameters.items():
        assert torch.equal(parameter, pooled.parameters[name])


def test_training_that_goes_on_draws_the_same_subnets() -> None:
    whole = Trainer(tiny_supernet(), tiny_data(), recipe(), seed=7, pooled=True)
    trained(whole, range(12))
    tensors = {name: tensor.clone() for name, tensor in whole.tensors().items()}
    resumed = Trainer(tiny_supernet(seed=1), tiny_data(), recipe(), seed=7, pooled=True)
    resumed.load(tensors)
    assert trained(whole, range(12, 20)) == trained(resumed, range(12, 20))
    assert all(torch.equal(p, resumed.parameters[name]) for name, p in whole.parameters.items())
