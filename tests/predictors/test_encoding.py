import numpy as np
import pytest

from predictors.encoding import ArchitectureEncoding
from predictors.operators import CLASSES, QUANTITIES, WIDTH, OperatorTotals
from search_spaces import SPACES, get_space

SMALL = "mobilenet_v3_small_images"


@pytest.mark.parametrize("name", list(SPACES))
def test_totals_agree_with_the_costs_on_paper(name: str) -> None:
    space = get_space(name)
    population = space.sample(50, np.random.default_rng(0))
    totals = OperatorTotals(space)(population)
    macs = QUANTITIES.index("macs") * len(CLASSES)
    np.testing.assert_allclose(
        totals[:, macs : macs + len(CLASSES)].sum(axis=1), space.costs(population).macs, rtol=1e-6
    )
    everything, needed, working = np.split(totals, 3, axis=1)
    assert (needed <= everything).all()
    assert (working <= needed).all()


@pytest.mark.parametrize("name", list(SPACES))
def test_totals_equal_a_sum_over_the_layers_of_each_network(name: str) -> None:
    space = get_space(name)
    population = space.sample(10, np.random.default_rng(1))
    launches = OperatorTotals(space)(population)[:, : len(CLASSES)].sum(axis=1)
    assert launches.tolist() == [sum(len(slot) for slot in space.layers(row)) for row in population]


def test_only_a_cell_has_dead_layers() -> None:
    assert ArchitectureEncoding(get_space(SMALL), "latency").widths["dead"] == 0
    assert ArchitectureEncoding(get_space("nasbench201"), "latency").widths["dead"] > 0


def test_a_convolution_that_nothing_reads_is_dead() -> None:
    space = get_space("nasbench201")
    # Node 1 gets a convolution, but its only reader, the edge to node 3, is empty.
    unread = space.from_values(np.array([[3, 0, 0, 1, 0, 0]]))
    totals = OperatorTotals(space)(unread)[0]
    dense_macs = QUANTITIES.index("macs") * len(CLASSES) + CLASSES.index("dense")
    assert totals[dense_macs] - totals[WIDTH + dense_macs] > 0


def test_a_convolution_fed_by_zeros_only_does_no_work() -> None:
    space = get_space("nasbench201")
    # Node 1 is empty; a convolution takes it to node 3, beside one that reads the cell's input.
    fed_by_zeros = space.from_values(np.array([[0, 0, 0, 3, 3, 0]]))
    needed, working = np.split(OperatorTotals(space)(fed_by_zeros)[0], 3)[1:]
    plain = OperatorTotals(space)(space.from_values(np.array([[0, 0, 0, 3, 0, 0]])))[0, -WIDTH:]
    macs = slice(len(CLASSES), 2 * len(CLASSES))
    assert needed[macs].sum() > working[macs].sum()
    np.testing.assert_array_equal(working[macs], plain[macs])


def test_rows_have_unit_length_and_no_mean_over_the_space() -> None:
    encoding = ArchitectureEncoding(get_space(SMALL), "latency")
    positions = encoding(encoding.space.sample(3000, np.random.default_rng(3)))[:, : encoding.widths["positions"]]
    assert np.square(positions).sum(axis=1).mean() == pytest.approx(1, rel=0.05)
    assert np.abs(positions.mean(axis=0)).max() < 0.03


def test_counts_ignore_the_place() -> None:
    space = get_space("fbnet")
    encoding = ArchitectureEncoding(space, "latency")
    row = space.sample(1, np.random.default_rng(4))[0]
    row[-2:] = 3, 5
    swapped = row.copy()
    swapped[-2:] = 5, 3
    first = encoding.widths["positions"]
    counts = encoding(np.stack([row, swapped]))[:, first : first + encoding.widths["counts"]]
    np.testing.assert_array_equal(counts[0], counts[1])
