"""NAS-Bench-201 against the benchmark's own figures, and every one of its cells."""

import csv
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from search_spaces import get_space
from search_spaces.layers import SLOT_INPUT
from search_spaces.nasbench201 import CONV1, CONV3, EDGES, NONE, POOL3, SKIP, cell

ALL = np.array(list(product(range(5), repeat=6)))


@pytest.mark.parametrize(
    ("num_classes", "mega_flops", "mega_params"),
    [
        (10, (7.78305, 220.11969), (0.073306, 1.531546)),
        (100, (7.78890, 220.12554), (0.079156, 1.537396)),
    ],
    ids=["CIFAR-10", "CIFAR-100"],
)
def test_range_of_costs_is_the_benchmarks(
    num_classes: int, mega_flops: tuple[float, float], mega_params: tuple[float, float]
) -> None:
    space = get_space("nasbench201", num_classes=num_classes)
    costs = space.costs(space.from_values(ALL))
    flops = costs.macs + num_classes  # the benchmark counts MACs and the classifier's biases
    assert (flops.min() / 1e6, flops.max() / 1e6) == mega_flops
    assert (costs.params.min() / 1e6, costs.params.max() / 1e6) == mega_params
    assert set(ALL[np.argmax(flops)]) == {CONV3}


def test_every_cell_has_its_name() -> None:
    space = get_space("nasbench201")
    population = space.from_values(ALL)
    assert len(set(space.format(population))) == space.size == 15_625
    np.testing.assert_array_equal(space.gene_values(population)[:, 1:], ALL)
    assert space.encode(population).shape == (15_625, 30)
    assert space.format(space.from_values(np.array([[3, 1, 2, 0, 4, 3]]))[0]) == "r32-conv3-skip_conv1-none_pool3_conv3"


def test_measured_rows_become_genotypes(shared_data: Path) -> None:
    space = get_space("nasbench201")
    with (shared_data / "latency/nasbench201/archs.csv").open() as file:
        rows = list(csv.DictReader(file))
    population = space.from_values(np.array([[int(row[f"e{to}{source}"]) for to, source in EDGES] for row in rows]))
    np.testing.assert_array_equal(space.connected(population), [row["connected"] == "1" for row in rows])
    assert space.connected(population).sum() == 15_625 - 341


def reads_what_is_written(operators: dict[tuple[int, int], int]) -> np.ndarray:
    """Run a cell on numbers: a convolution multiplies by an irrational of its edge; all else as in the benchmark."""
    weights = {edge: 1 + np.sqrt(2 + i) for i, edge in enumerate(EDGES)}
    nodes = [np.array([1.5, -2.5])]
    for node in (1, 2, 3):
        total = np.zeros(2)
        for source in range(node):
            operator, x = operators[node, source], nodes[source]
            if operator in (CONV1, CONV3):
                total = total + np.maximum(x, 0) * weights[node, source] * operator
            elif operator == POOL3:
                total = total + x / 3
            elif operator == SKIP:
                total = total + x
        nodes.append(total)
    return nodes[3]


def test_layers_compute_the_cell() -> None:
    weights = {edge: 1 + np.sqrt(2 + i) for i, edge in enumerate(EDGES)}
    rng = np.random.default_rng(0)
    for row in ALL[rng.permutation(len(ALL))[:2000]]:
        operators = dict(zip(EDGES, map(int, row), strict=True))
        tensors = {SLOT_INPUT: np.array([1.5, -2.5])}
        out = tensors[SLOT_INPUT]
        for layer in cell(operators, 8, 8):
            x = [tensors[name] for name in layer.inputs]
            if layer.kind == "conv":
                edge = (int(layer.name[-2]), int(layer.name[-1]))
                out = x[0] * weights[edge] * {1: CONV1, 3: CONV3}[layer.kernel]
            else:
                out = {
                    "avg_pool": lambda x: x[0] / 3,
                    "zero": lambda x: np.zeros(2),
                    "identity": lambda x: x[0],
                    "add": lambda x: x[0] + x[1],
                }[layer.kind](x)
            if layer.activation == "relu":
                out = np.maximum(out, 0)
            tensors[layer.name] = out
        np.testing.assert_allclose(out, reads_what_is_written(operators), rtol=1e-12)


def test_a_convolution_that_nothing_reads_still_counts() -> None:
    dead = dict.fromkeys(EDGES, NONE) | {(3, 0): SKIP, (1, 0): CONV3}
    assert [layer.name for layer in cell(dead, 8, 8)] == ["relu0", "conv10", "output"]
    assert cell(dict.fromkeys(EDGES, NONE) | {(3, 0): SKIP}, 8, 8) == ()


@pytest.mark.parametrize("resolutions", [(32,), (16, 32)])
def test_min_net_is_connected(resolutions: tuple[int, ...]) -> None:
    space = get_space("nasbench201", resolutions=resolutions)
    assert space.connected(space.min).all()
    assert space.costs(space.min).macs == space.costs(space.sample(2000, np.random.default_rng(0))).macs.min()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolutions": (30,)}, r"resolutions of nasbench201 must be multiples of 4, got \[30\]"),
        ({"cells": 0}, "channels and cells must be at least 1, got 16 and 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_space("nasbench201", **options)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "nasbench201"),
        ({"channels": 32}, "nasbench201_c32"),
        ({"cells": 3}, "nasbench201_n3"),
        ({"channels": 8, "cells": 1}, "nasbench201_c8_n1"),
    ],
)
def test_another_size_has_another_name(options: dict[str, int], name: str) -> None:
    space = get_space("nasbench201", **options)
    assert space.name == name
    for again in (get_space(name), get_space(name, **space.options), get_space("nasbench201", **space.options)):
        assert (again.name, again.options) == (name, space.options)
