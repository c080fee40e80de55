"""How many networks are chosen at a time, and which."""

import numpy as np
import pytest

from predictors.latency.suggestion import a_optimal, next_count


def counts(known: int, wanted: int) -> list[int]:
    found = []
    while (n := next_count(known, wanted)) > 0:
        found.append(n)
        known += n
    return found


@pytest.mark.parametrize(
    ("known", "wanted", "expected"),
    [
        (0, 1, [1]),
        (0, 4, [4]),
        (0, 8, [5, 1, 1, 1]),
        (2, 8, [3, 1, 1, 1]),
        (0, 40, [5, *[4] * 8, 3]),
        (38, 40, [2]),
        (12, 12, []),
        (20, 12, []),
    ],
)
def test_a_few_networks_at_a_time(known: int, wanted: int, expected: list[int]) -> None:
    assert counts(known, wanted) == expected


def test_the_choice_does_not_repeat_what_a_network_alike_will_tell() -> None:
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.0], [0.0, 0.8]])
    chosen = a_optimal(features @ features.T, np.full(4, 0.01), 2, np.zeros(4, dtype=bool))
    assert chosen.tolist() == [0, 3]
    taken = np.array([True, True, False, False])
    assert set(a_optimal(features @ features.T, np.full(4, 0.01), 2, taken).tolist()) == {2, 3}
