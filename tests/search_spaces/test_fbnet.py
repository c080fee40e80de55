"""FBNet against its published networks and HW-NAS-Bench's numbering."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from search_spaces import get_space
from search_spaces.fbnet import BLOCKS

FBNET_C = (
    "r224-k3e1-k3e6_k3e1_k3e1_skip-k5e6_k5e3_k5e6_k3e6-k5e6_k5e3_k5e6_k5e6-k5e6_k5e6_k5e6_k5e3-k5e6_k5e6_k5e6_k5e6-k3e6"
)


def test_fbnet_c_has_the_published_parameters() -> None:
    space = get_space("fbnet_imagenet")
    costs = space.costs(space.parse(FBNET_C))
    assert costs.params[0] == 5_572_200  # 5.5 M in the paper, table 4; 5.57 M as timm's fbnetc_100
    assert costs.macs[0] / 1e6 == pytest.approx(375, rel=0.03)  # as the paper counts


def test_size() -> None:
    assert get_space("fbnet").size == get_space("fbnet_imagenet").size == 9**22


def test_blocks_are_numbered_as_in_the_data(shared_data: Path) -> None:
    numbers = json.loads((shared_data / "latency/fbnet/ops.json").read_text())
    assert {int(n): label.replace("_", "") for n, label in numbers.items()} == {
        n: block.label for n, block in BLOCKS.items()
    }


def test_measured_rows_become_genotypes_whose_macs_rank_like_their_latency(shared_data: Path) -> None:
    archs = np.loadtxt(shared_data / "latency/fbnet/archs.csv", delimiter=",", skiprows=1, dtype=int)[:, 1:]
    space = get_space("fbnet")
    population = space.from_values(archs)
    np.testing.assert_array_equal(space.gene_values(population)[:, 1:], archs)
    assert space.format(population[0]).startswith("r32-k5e6-skip_k3e1g2_skip_k5e1-")
    with (shared_data / "latency/fbnet/help_latency_ms.csv").open() as file:
        latency = np.array([float(row["raspi4"]) for row in csv.DictReader(file)])
    assert np.corrcoef(space.costs(population).macs, latency)[0, 1] > 0.8


def test_macro_architecture_at_32_pixels() -> None:
    space = get_space("fbnet")
    layers = dict(zip((slot.name for slot in space.slots), space.layers(space.max), strict=True))
    assert [layers[f"stage{s}_layer1"][-1].out_size for s in range(1, 8)] == [32, 32, 16, 8, 8, 4, 4]
    assert [layers[f"stage{s}_layer1"][-1].out_channels for s in range(1, 8)] == [16, 24, 32, 64, 112, 184, 352]
    assert len(layers) == 24
    assert [layer.out_channels for layer in layers["head"]] == [1504, 1504, 100]


def test_blocks() -> None:
    space = get_space("fbnet")
    same, wider = [next(i for i, s in enumerate(space.slots) if s.name == f"stage2_layer{n}") for n in (2, 1)]
    assert space.variant_layers(same, 0) == ()
    (skip,) = space.variant_layers(wider, 0)
    assert (skip.kernel, skip.activation, skip.in_channels, skip.out_channels) == (1, "relu", 16, 24)
    grouped = space.variant_layers(same, 1)
    assert [layer.name for layer in grouped] == [
        "expand_grouped",
        "shuffle",
        "depthwise_grouped",
        "project_grouped",
        "residual",
    ]
    assert [layer.groups for layer in grouped] == [2, 2, 24, 2, 1]
    # 1x1 with two groups twice, 3x3 depthwise, three batch-norms
    assert sum(layer.params for layer in grouped) == 2 * 24 * 12 + 24 * 9 + 3 * 48
