"""What every registered search space must keep to, and every traced network."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import SPACES, LayerSpec, SearchSpace, get_space
from search_spaces.layers import SLOT_INPUT

TRACED = ("torchvision:mobilenet_v3_small", "torchvision:resnet18", "timm:ghostnetv2_100")
pytestmark = pytest.mark.parametrize("space", [*SPACES, *TRACED], indirect=True)
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def space(request: pytest.FixtureRequest) -> SearchSpace:
    if request.param in TRACED:
        if request.param.startswith("timm:"):
            pytest.importorskip("timm", reason="needs the extra timm")
        from nas.tracing import adopt, load_model

        return adopt(load_model(request.param, num_classes=10)).space
    return get_space(request.param)


def population(space: SearchSpace, seed: int, n: int = 20) -> np.ndarray:
    return space.sample(n, np.random.default_rng(seed))


def assert_canonical(space: SearchSpace, rows: np.ndarray) -> None:
    assert rows.dtype == np.int16
    assert rows.shape[1] == len(space.genes)
    np.testing.assert_array_equal(space.canonical(rows), rows)
    assert (rows >= 0).all()
    assert (rows < space.n_choices).all()


def liveness_peak(layers: tuple[LayerSpec, ...]) -> int:
    """Most elements alive at once, found by asking of every tensor at every step whether it is still needed."""
    if not layers:
        return 0
    # What is written, from what, and how many elements; an attention also writes its scores before and behind softmax.
    steps: list[tuple[str, tuple[str, ...], int]] = []
    for layer in layers:
        read = layer.inputs
        if layer.kind == "attention":
            scores = layer.groups * layer.size**2 * (-(-layer.size // layer.stride)) ** 2
            steps += [("scores of " + layer.name, read[:2], scores)]
            steps += [("shares of " + layer.name, (steps[-1][0],), scores)]
            read = (steps[-1][0], read[2])
        steps.append((layer.name, read, layer.output_elements))
    tensors = [(SLOT_INPUT, 0, layers[0].input_elements)]
    tensors += [(name, number, elements) for number, (name, _, elements) in enumerate(steps)]

    def needed(name: str, step: int) -> bool:
        return name == layers[-1].name or any(name in read for _, read, _ in steps[step:])

    return max(
        sum(size for name, born, size in tensors if born == step or (born < step and needed(name, step)))
        for step in range(len(steps))
    )


def test_name_and_options_make_the_space_again(space: SearchSpace) -> None:
    again = get_space(space.name, **space.options)
    assert (again.name, again.genes, again.slots) == (space.name, space.genes, space.slots)
    assert again.num_classes == space.num_classes


def test_genes_and_slots_are_sound(space: SearchSpace) -> None:
    names = [gene.name for gene in space.genes]
    assert max(Counter(names).values()) == 1
    assert max(Counter(slot.name for slot in space.slots).values()) == 1
    for gene in space.genes:
        assert len(gene.values) >= 1
        assert max(Counter(gene.label(i) for i in range(len(gene.values))).values()) == 1
        if gene.needs:
            parent = space.genes[names.index(gene.needs[0])]
            assert names.index(parent.name) < names.index(gene.name)
            assert list(parent.values) == sorted(parent.values)
    assert names == list(space.columns)
    assert list(space.columns.values()) == list(range(len(names)))
    used = {name for slot in space.slots for name in slot.genes} | {gene.name for gene in space.context_genes}
    used |= {slot.needs[0] for slot in space.slots if slot.needs}
    assert used == set(names)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_names_parse_back(space: SearchSpace, seed: int) -> None:
    rows = population(space, seed)
    names = space.format(rows)
    np.testing.assert_array_equal([space.parse(name) for name in names], rows)
    assert names[0] == space.format(rows[0])
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.") for name in names)


def test_equal_names_are_equal_rows(space: SearchSpace) -> None:
    rows = population(space, 0, 500)
    assert len(set(space.format(rows))) == len(np.unique(rows, axis=0))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, rate=st.floats(0, 1))
def test_operators_give_canonical_rows(space: SearchSpace, seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    rows = space.sample(20, rng)
    assert_canonical(space, rows)
    assert_canonical(space, space.mutate(rows, rate, rng))
    assert_canonical(space, space.crossover(rows, rows[::-1], rng))
    anything = (rng.random(rows.shape) * space.n_choices).astype(np.int16)
    assert_canonical(space, space.canonical(anything))
    assert space.format(anything) == space.format(space.canonical(anything))


def test_operators_move_as_much_as_they_should(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    rows = space.sample(2000, rng)
    free = space.n_choices > 1
    np.testing.assert_array_equal(space.mutate(rows, 0.0, rng), rows)
    changed = (space.mutate(rows, 0.1, rng) != rows)[:, free].mean()
    assert 0.03 < changed < 0.15
    for column in np.flatnonzero(free):
        counts = np.bincount(rows[space.active(rows)[:, column], column], minlength=space.n_choices[column])
        np.testing.assert_allclose(counts / counts.sum(), 1 / space.n_choices[column], atol=0.06)
    child = space.crossover(rows, rows[::-1], rng)
    active = space.active(child)
    assert ((child == rows) | (child == rows[::-1]))[active].all()


def test_values_lead_back_to_the_genotypes(space: SearchSpace) -> None:
    rows = population(space, 1)
    values = space.gene_values(rows)
    np.testing.assert_array_equal(space.from_values(values), rows)
    np.testing.assert_array_equal(space.from_values(values[:, space.n_choices > 1]), rows)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_costs_equal_a_count_layer_by_layer(space: SearchSpace, precision: str) -> None:
    rows = np.vstack([population(space, 2, 10), space.min, space.max])
    costs = space.costs(rows, precision)
    width = {"float32": 4, "int8": 1}[precision]
    for i, row in enumerate(rows):
        slots = space.layers(row)
        layers = [layer for slot in slots for layer in slot]
        weights = [
            layer.out_channels * layer.in_channels // layer.groups * layer.kernel * (layer.kernel_width or layer.kernel)
            for layer in layers
            if layer.kind in ("conv", "linear")
        ]
        assert costs.macs[i] == sum(layer.macs for layer in layers)
        assert costs.params[i] == sum(weights) + sum(
            layer.out_channels * (layer.bias + 2 * layer.norm + (layer.kind == "scale")) for layer in layers
        )
        vectors = sum(layer.out_channels * (layer.bias or layer.norm) for layer in layers)
        vectors += sum(layer.out_channels for layer in layers if layer.kind == "identity" and layer.norm)
        vectors += sum(layer.out_channels for layer in layers if layer.kind == "scale")
        assert costs.weight_bytes[i] == width * sum(weights) + 4 * vectors
        assert costs.peak_activation_bytes[i] == width * max(map(liveness_peak, slots))


def test_costs_do_not_depend_on_what_was_costed_before(space: SearchSpace) -> None:
    rows = population(space, 3)
    fresh = get_space(space.name, **space.options)
    for column, one_by_one in zip(
        space.costs(rows), zip(*(fresh.costs(row) for row in rows), strict=True), strict=True
    ):
        np.testing.assert_array_equal(column, np.concatenate(one_by_one))


def test_slots_that_share_a_table_are_the_same(space: SearchSpace) -> None:
    number = {slot.name: i for i, slot in enumerate(space.slots)}
    rng = np.random.default_rng(0)
    for i, slot in enumerate(space.slots):
        if slot.same_as:
            twin = number[slot.same_as]
            optional, twin_optional = slot.needs is not None, space.slots[twin].needs is not None
            operators = space.n_variants[i] - optional
            assert operators == space.n_variants[twin] - twin_optional
            for variant in rng.integers(operators, size=10):
                ours = space.variant_layers(i, int(variant) + optional)
                assert ours == space.variant_layers(twin, int(variant) + twin_optional)


def test_layers_fit_together(space: SearchSpace) -> None:
    for row in np.vstack([population(space, 4, 30), space.min, space.max]):
        shape = None
        for layers in space.layers(row):
            if not layers:
                continue
            shape = shape or (layers[0].in_channels, int(space.resolution(row)[0]))
            shapes = {SLOT_INPUT: shape}
            for layer in layers:
                assert layer.name not in shapes
                sources = [shapes[name] for name in layer.inputs]
                assert sources[0] == (layer.in_channels, layer.size), layer
                if layer.kind == "concat":
                    assert layer.out_channels == sum(c for c, _ in sources), layer
                    assert {s for _, s in sources} == {layer.size}, layer
                elif layer.kind == "attention":
                    side = -(-layer.size // layer.stride)
                    channels = (layer.in_channels, layer.out_channels)
                    assert sources[1:] == [(c // layer.groups, side) for c in channels], layer
                else:
                    assert all(c == layer.in_channels and s in (1, layer.size) for c, s in sources[1:]), layer
                    assert (len(sources) == 2) == (layer.kind in ("add", "mul"))
                assert layer.in_channels % layer.groups == layer.out_channels % layer.groups == 0
                shape = shapes[layer.name] = (layer.out_channels, layer.out_size)
        assert shape == (space.num_classes, 1)


def test_layers_of_one_name_can_share_weights(space: SearchSpace) -> None:
    for i in range(len(space.slots)):
        kinds: dict[str, tuple[str, bool, bool]] = {}
        n = int(space.n_variants[i])
        for variant in np.unique(np.linspace(0, n - 1, 200).astype(int)):
            for layer in space.variant_layers(i, int(variant)):
                assert kinds.setdefault(layer.name, (layer.kind, layer.norm, layer.bias)) == (
                    layer.kind,
                    layer.norm,
                    layer.bias,
                )


def test_weight_layers_are_those_of_every_network(space: SearchSpace) -> None:
    def weights(layer: LayerSpec) -> tuple[object, ...]:
        return layer.name, layer.kind, layer.in_channels, layer.out_channels, layer.kernel, layer.groups

    have = [{weights(layer) for layer in space.weight_layers(slot)} for slot in space.slots]
    for row in np.vstack([population(space, 7, 100), space.min, space.max]):
        for known, layers in zip(have, space.layers(row), strict=True):
            assert known.issuperset(map(weights, layers))


def test_nobody_is_a_population_too(space: SearchSpace) -> None:
    nobody = space.sample(0, np.random.default_rng(0))
    assert space.format(nobody) == []
    assert space.encode(nobody).shape == (0, space.encode(space.min).shape[1])
    assert [len(column) for column in space.costs(nobody)] == [0] * 4
    assert space.mutate(nobody, 0.5, np.random.default_rng(0)).shape == nobody.shape


def test_encoding_is_one_hot(space: SearchSpace) -> None:
    rows = population(space, 5, 300)
    encoded = space.encode(rows)
    assert encoded.dtype == np.float32
    assert set(np.unique(encoded)) == {0.0, 1.0}
    assert len(np.unique(encoded, axis=0)) == len(np.unique(rows, axis=0))
    np.testing.assert_array_equal(encoded[7], space.encode(rows[7])[0])
    # As many ones as context genes with a choice and tokens that are there.
    context = space.context_genes
    constant = sum(len(gene.values) > 1 for gene in context)
    words = [sum(len(part.split("_")) for part in name.split("-")) - len(context) for name in space.format(rows)]
    np.testing.assert_array_equal(encoded.sum(axis=1), constant + np.array(words))


def test_max_net_is_the_biggest_and_min_among_the_smallest(space: SearchSpace) -> None:
    costs = space.costs(np.vstack([space.min, space.max, population(space, 6, 2000)]))
    for column in costs[:3]:
        assert column[1] == column.max()
        assert (column >= column[0]).mean() > 0.999


def test_a_hundred_thousand_are_quick(space: SearchSpace) -> None:
    # Measured on one core: 0.05-0.1 s to cost (0.3-1 s with cold tables), under 0.1 s to sample or mutate,
    # 0.2 s to encode. The bounds leave room for a slow, shared machine.
    rng = np.random.default_rng(0)
    rows = space.sample(100_000, rng)
    space.costs(rows)
    for work, bound in (
        (lambda: space.costs(rows), 1.0),
        (lambda: space.sample(100_000, rng), 0.5),
        (lambda: space.mutate(rows, 0.1, rng), 0.5),
        (lambda: space.encode(rows), 1.0),
    ):
        before = time.process_time()
        work()
        assert time.process_time() - before < bound


def test_what_does_not_belong_is_refused(space: SearchSpace) -> None:
    too_big = space.max.copy()
    too_big[0] += 1
    with pytest.raises(ValueError, match=f"gene {space.genes[0].name} has choices 0 to"):
        space.costs(too_big)
    with pytest.raises(ValueError, match=r"has \d+ genes, the genotypes have 3"):
        space.encode(np.zeros((2, 3), dtype=int))
    with pytest.raises(ValueError, match="are rows of integers .*, not float64"):
        space.variants(space.min + 0.5)
    with pytest.raises(ValueError, match="unknown precision 'int3'; known: float32, float16, int8"):
        space.costs(space.min, "int3")
    name = space.format(space.min)
    with pytest.raises(ValueError, match=rf"has \d+ parts, an architecture of {space.name} has \d+, like "):
        space.parse(name + "-k3")
    with pytest.raises(ValueError, match=f"'q' is not a word of space {space.name}; allowed: "):
        space.parse("-".join(["q", *name.split("-")[1:]]))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        get_space(space.name, **space.options | {"num_classes": 0})
    with pytest.raises(ValueError, match=f"search space {space.name}: "):
        get_space(space.name, colour="red")
    with pytest.raises(ValueError, match=r"gene \w+ has the values .*, not 999"):
        space.from_values(np.full((1, len(space.genes)), 999))
    with pytest.raises(ValueError, match="genes with a choice, the rows have 1"):
        space.from_values(np.zeros((4, 1), dtype=int))
