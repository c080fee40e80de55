"""The core of search spaces on cases small enough to check by hand or by enumeration."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pytest

from search_spaces import Gene, LayerSpec, SearchSpace, Slot, get_space, make_divisible
from search_spaces.layers import peak_activation_elements


class Chain(SearchSpace):
    """One to three convolutions of elastic kernel."""

    def __init__(self) -> None:
        genes = [Gene("depth", "depth", "", (1, 3))]
        slots = []
        for block in (1, 2, 3):
            needs = ("depth", block) if block > 1 else None
            genes.append(Gene(f"kernel{block}", "kernel", "k", (1, 3, 5), needs=needs))
            slots.append(
                Slot(f"block{block}", "row", (f"kernel{block}",), needs=needs, same_as="block1" if needs else "")
            )
        super().__init__("chain", genes, slots, 4)
        self.made = 0

    @property
    def options(self) -> dict[str, Any]:
        return {}

    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        self.made += 1
        return (LayerSpec("conv", "conv", 4, 4, 8, choice[slot.genes[0]], norm=True),)


def everything(space: SearchSpace) -> np.ndarray:
    return np.array(list(product(*(range(n) for n in space.n_choices))))


@pytest.mark.parametrize(
    "space",
    [
        Chain(),
        get_space("mobilenet_v3_small_images", depths=(1,), kernels=(3,), expansions=(2, 4), resolutions=(16, 32)),
        get_space("proxylessnas", depths=(1, 2), kernels=(3,), expansions=(3,), resolutions=(64, 96, 128)),
    ],
    ids=["chain", "flat", "depth"],
)
def test_size_counts_the_different_networks(space: SearchSpace) -> None:
    rows = everything(space)
    canonical = np.unique(space.canonical(rows), axis=0)
    assert len(canonical) == space.size == len(set(space.format(rows)))
    assert len(np.unique(space.variants(rows), axis=0)) == space.size


def test_every_network_is_drawn() -> None:
    space = Chain()
    rows = space.sample(3000, np.random.default_rng(0))
    assert len(np.unique(rows, axis=0)) == space.size == 3 + 27


def test_names_say_what_is_there() -> None:
    space = Chain()
    assert space.format(space.min) == "k1"
    assert space.format(space.max) == "k5_k5_k5"
    assert space.format(np.array([[0, 1, 2, 2], [1, 0, 1, 2]])) == ["k3", "k1_k3_k5"]
    np.testing.assert_array_equal(space.parse("k3"), [0, 1, 0, 0])
    with pytest.raises(ValueError, match="row of chain has 1 or 3 words joined by '_', not 2"):
        space.parse("k3_k3")
    with pytest.raises(ValueError, match="'k7' is not a word of space chain; allowed: k1/k3/k5"):
        space.parse("k7")


def test_genes_of_absent_blocks_do_not_matter() -> None:
    space = Chain()
    rows = np.array([[0, 1, 2, 2], [0, 1, 0, 0]])
    np.testing.assert_array_equal(space.active(rows), [[True, True, False, False]] * 2)
    for table in (space.canonical(rows), space.variants(rows), space.encode(rows), np.array(space.costs(rows)).T):
        np.testing.assert_array_equal(table[0], table[1])


def test_costs_by_hand_and_each_layer_list_made_once() -> None:
    space = Chain()
    costs = space.costs(np.array([[1, 0, 1, 2], [0, 2, 0, 0]] * 50), "int8")
    assert costs.macs[:2].tolist() == [16 * 64 * (1 + 9 + 25), 16 * 64 * 25]
    assert costs.params[:2].tolist() == [16 * 35 + 3 * 8, 16 * 25 + 8]
    assert costs.weight_bytes[:2].tolist() == [16 * 35 + 3 * 16, 16 * 25 + 16]
    assert costs.peak_activation_bytes[:2].tolist() == [2 * 4 * 64] * 2
    assert space.made == 3


def test_encoding_of_a_chain() -> None:
    space = Chain()
    np.testing.assert_array_equal(
        space.encode(np.array([[1, 0, 1, 2], [0, 2, 1, 1]])),
        [[1, 0, 0, 0, 1, 0, 0, 0, 1], [0, 0, 1, 0, 0, 0, 0, 0, 0]],
    )


def test_from_values() -> None:
    space = Chain()
    np.testing.assert_array_equal(
        space.from_values(np.array([[3, 5, 3, 1], [1, 3, 5, 5]])), [[1, 2, 1, 0], [0, 1, 0, 0]]
    )
    with pytest.raises(ValueError, match=r"gene depth has the values \[1, 3\], not 2"):
        space.from_values(np.array([[1, 1, 1, 1], [2, 1, 1, 1]]))


def test_crossover_takes_the_genes_of_blocks_from_the_parent_that_has_them() -> None:
    space = Chain()
    deep, shallow = np.array([[1, 0, 2, 2]] * 200), np.array([[0, 1, 0, 0]] * 200)
    children = space.crossover(shallow, deep, np.random.default_rng(0))
    assert {tuple(child) for child in children} == {(0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 2, 2), (1, 1, 2, 2)}


def test_peak_activation_of_a_residual_block() -> None:
    layers = (
        LayerSpec("expand", "conv", 8, 32, 4),
        LayerSpec("project", "conv", 32, 8, 4, inputs=("expand",)),
        LayerSpec("residual", "add", 8, 8, 4, inputs=("project", "")),
    )
    assert peak_activation_elements(layers) == (8 + 32 + 8) * 16  # input kept for the addition
    assert peak_activation_elements(layers[:2]) == (32 + 8) * 16  # not kept
    assert peak_activation_elements(()) == 0


@pytest.mark.parametrize(("value", "rounded"), [(8, 8), (11, 16), (12, 16), (1, 8), (19.2, 24), (28.8, 32), (35, 32)])
def test_make_divisible(value: float, rounded: int) -> None:
    assert make_divisible(value) == rounded
    assert rounded % 8 == 0
    assert rounded >= 0.9 * value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": (4,)}, r"kernels must be odd, got \[4\]"),
        ({"depths": (3, 2)}, r"depths must be distinct positive integers in ascending order, got \[3, 2\]"),
        ({"resolutions": ()}, r"resolutions must be distinct positive integers in ascending order, got \[\]"),
        ({"expansions": (0, 2)}, r"expansions must be distinct positive integers"),
        ({"width_mult": 0}, "width_mult must be positive, got 0"),
        ({"strides": (1, 2)}, r"strides must be 5 numbers, one for each stage, each 1 or 2, got \[1, 2\]"),
        ({"strides": (1, 2, 3, 1, 2)}, r"each 1 or 2, got \[1, 2, 3, 1, 2\]"),
        ({"stem_stride": 0}, "stem_stride must be 1 or 2, got 0"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_space("mobilenet_v3", **options)


def test_unknown_names_are_refused_and_widths_are_part_of_the_name() -> None:
    with pytest.raises(ValueError, match="unknown search space 'resnet'; known: mobilenet_v3, "):
        get_space("resnet")
    wide = get_space("mobilenet_v3_w1.2")
    assert (wide.name, wide.options["width_mult"]) == ("mobilenet_v3_w1.2", 1.2)
    assert get_space("mobilenet_v3", width_mult=1.2).name == wide.name


@pytest.mark.parametrize("name", ["mobilenet_v3", "mobilenet_v3_small_images", "proxylessnas"])
def test_strides_are_part_of_name_and_options(name: str) -> None:
    plain = get_space(name)
    strides = [1, 2, 2, 1, 2, 1][: len(plain.macro.stages)]  # type: ignore[attr-defined]
    strided = get_space(name, strides=strides, stem_stride=1, width_mult=1.2)
    assert strided.name == f"{name}_s1{''.join(map(str, strides))}_w1.2"
    for again in (
        get_space(strided.name),
        get_space(strided.name, **strided.options),
        get_space(name, **strided.options),
    ):
        assert (again.name, again.options, again.genes) == (strided.name, strided.options, strided.genes)
    own = [stage.stride for stage in plain.macro.stages]  # type: ignore[attr-defined]
    same = get_space(name, strides=own, stem_stride=plain.macro.stem_stride)  # type: ignore[attr-defined]
    assert (same.name, same.options) == (plain.name, plain.options)


def test_the_space_of_deps_for_small_images() -> None:
    space = get_space("mobilenet_v3", strides=(1, 2, 2, 1, 2), stem_stride=1, kernels=(7,), resolutions=(32,),
                      num_classes=10)  # fmt: skip
    least, most = (space.costs(np.stack([space.min, space.max])).macs / 1e6).tolist()
    assert (round(least), round(most)) == (45, 180)
    sizes = [layers[0].size for layers in space.layers(space.max)]
    assert (sizes[0], sizes[-1]) == (32, 4)
