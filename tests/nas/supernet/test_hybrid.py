"""Attention in the space hybrid: what it computes, what sorting does to its heads, where it stands, that it learns."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nas.report.layers import operator
from nas.supernet import Supernet
from nas.supernet.layers import KINDS, plain_layer
from predictors.operators import CLASSES, QUANTITIES, layer_totals
from search_spaces import LayerSpec, SearchSpace, get_space
from search_spaces.channels import channel_sets
from search_spaces.layers import peak_activation_elements

SMALL = {"width_mult": 0.25, "depths": (2, 4), "attention_depths": (1, 2), "resolutions": (64,), "num_classes": 4}
ATTENTION = LayerSpec("a", "attention", 24, 40, 6, stride=2, groups=4, inputs=("q", "k", "v"))


@pytest.fixture
def hybrid() -> SearchSpace:
    return get_space("hybrid", **SMALL)


def test_attention_is_that_of_heads_that_share_keys_and_values() -> None:
    query, key, value = torch.randn(3, 24, 6, 6), torch.randn(3, 6, 3, 3), torch.randn(3, 10, 3, 3)
    found = KINDS["attention"].run(ATTENTION, plain_layer(ATTENTION), [query, key, value])
    heads = query.view(3, 4, 6, 36).transpose(2, 3)
    keys, values = (x.flatten(2).transpose(1, 2)[:, None].expand(-1, 4, -1, -1) for x in (key, value))
    expected = F.scaled_dot_product_attention(heads, keys, values)
    torch.testing.assert_close(found, expected.transpose(2, 3).reshape(3, 40, 6, 6))


def test_costs_of_attention() -> None:
    assert (ATTENTION.macs, ATTENTION.params, ATTENTION.out_size) == (4 * 36 * 9 * (6 + 10), 0, 6)
    block = (
        LayerSpec("q", "conv", 8, 24, 6),
        LayerSpec("k", "conv", 8, 6, 6, stride=2),
        LayerSpec("v", "conv", 8, 10, 6, stride=2),
        ATTENTION,
    )
    scores = 4 * 36 * 9
    # Softmax reads the scores and writes as many while the values wait; the queries are not needed any more.
    assert peak_activation_elements(block) == max(2 * scores + 90, 90 + scores + 40 * 36)
    totals = layer_totals(ATTENTION).reshape(len(QUANTITIES), len(CLASSES))[:, CLASSES.index("pointwise")]
    assert totals.tolist() == [1, ATTENTION.macs, 24 * 36 + 9 * (6 + 10) + 2 * scores + 40 * 36, 0]
    assert operator(ATTENTION) == "multi-query attention, 4 heads"


def test_heads_are_kept_or_dropped_whole() -> None:
    layers = [
        LayerSpec("q", "conv", 8, 24, 6),
        LayerSpec("k", "conv", 8, 6, 6, stride=2),
        LayerSpec("v", "conv", 8, 10, 6, stride=2),
        ATTENTION,
        LayerSpec("project", "conv", 40, 8, 6, inputs=("a",)),
    ]
    sets = channel_sets(layers)
    assert sets.sizes == (4,)
    assert sets.positions(0, "q").tolist() == np.arange(24).reshape(4, 6).tolist()
    assert sets.positions(0, "a").tolist() == np.arange(40).reshape(4, 10).tolist()
    assert (sets.set_of["k"] == -1).all()
    assert (sets.set_of["v"] == -1).all()


def test_sorting_puts_important_heads_first(hybrid: SearchSpace, make_supernet: Callable[..., Supernet]) -> None:
    net = make_supernet(hybrid)
    block = net.slots["stage3_attention1"]
    heads = hybrid.genes[hybrid.columns["stage3_heads"]].values[-1]

    def importance() -> torch.Tensor:
        return block["project"].conv.weight.detach().abs().sum((0, 2, 3)).view(heads, -1).sum(1)

    def rows() -> set[float]:
        """A number for each head, of its queries and of what is made of what it finds."""
        query = block["query"].conv.weight.detach().double().abs().sum((1, 2, 3)).view(heads, -1).sum(1)
        return {round(float(a * b), 1) for a, b in zip(query, importance().double(), strict=True)}

    before, together = importance(), rows()
    assert not (before.diff() <= 0).all()
    net.sort_channels()
    torch.testing.assert_close(importance(), before.sort(descending=True)[0])
    assert rows() == together


def test_attention_stands_where_the_genes_say(hybrid: SearchSpace) -> None:
    def places(architecture: str) -> list[str]:
        row = hybrid.parse(architecture)
        return [s.name for s, layers in zip(hybrid.slots, hybrid.layers(row), strict=True) if layers][3:-1]

    names = {}
    for begins in ("a5", "a4", "a3"):
        names[begins] = places(f"r64-w32-w64-w96-{begins}-n1-h1-s2-w128-n1-h1-conve1-c3e2-i3e2_i3e2-i3e2_i3e2")
    assert names["a5"] == ["stage3_block1", "stage3_block3", "stage4_block1", "stage4_block3"]
    assert names["a4"] == [*names["a5"][:3], "stage4_attention1", "stage4_block3"]
    assert names["a3"] == ["stage3_block1", "stage3_attention1", "stage3_block3", *names["a4"][2:]]
    most = places("r64-w32-w64-w96-a3-n2-h1-s2-w128-n1-h1-conve1-c3e2-i3e2_i3e2_i3e2_i3e2-i3e2_i3e2")
    assert most[:6] == [f"stage3_{x}" for x in ("block1", "block2", "attention1", "block3", "attention2", "block4")]
    # What says nothing has no name of its own.
    typed, canonical = (
        "r64-w32-w64-w96-a5-n2-h4-s1-w128-n2-h4-conve1-c3e2-i3e2_i3e2-i3e2_i3e2",
        "r64-w32-w64-w96-a5-n1-h1-s2-w128-n1-h1-conve1-c3e2-i3e2_i3e2-i3e2_i3e2",
    )
    assert hybrid.format(hybrid.parse(typed)) == canonical
    assert (hybrid.parse(typed) == hybrid.parse(canonical)).all()


def test_the_papers_network_is_named_where_attention_stands_as_in_the_paper() -> None:
    assert list(get_space("hybrid", attention_depths=[2, 4], depths=None).named) == ["hybrid_medium"]
    assert not get_space("hybrid", attention_depths=[2, 4, 6]).named
    assert not get_space("hybrid", depths=[2, 4, 6, 8]).named
    with pytest.raises(ValueError, match="'hybrid_medium' has 1 parts"):
        get_space("hybrid", attention_depths=[2, 4, 6]).parse("hybrid_medium")


def test_a_stage_of_one_block_may_have_attention() -> None:
    space = get_space("hybrid", **SMALL | {"depths": (1,), "attention_depths": (3,)})
    stage = [slot.name for slot in space.slots if slot.group == "stage3"]
    assert stage == ["stage3_block1", "stage3_attention1", "stage3_attention2", "stage3_attention3"]


def test_queries_and_keys_begin_small_and_learn(hybrid: SearchSpace) -> None:
    torch.manual_seed(0)
    net = Supernet(hybrid)
    net.zero_init_residuals()
    block, x = net.slots["stage3_attention1"], torch.randn(4, 40, 4, 4)
    assert torch.equal(block(x), x)
    seen = {}
    for name in ("query", "key"):
        block[name].register_forward_hook(lambda _m, _x, y, name=name: seen.update({name: float(y.detach().var())}))
    images, labels = torch.randn(16, 3, 64, 64), torch.arange(16) % 4
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    before = block["query"].conv.weight.detach().clone()
    losses = []
    for step in range(10):
        optimizer.zero_grad()
        for row in (hybrid.max, hybrid.sample(1, np.random.default_rng(step))[0]):
            net.activate(row)
            loss = F.cross_entropy(net(images), labels)
            loss.backward()
            if row is hybrid.max:
                losses.append(float(loss.detach()))
        if step == 0:
            assert all(0.3 < variance < 3 for variance in seen.values())
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
    assert not torch.equal(before, block["query"].conv.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": (4, 2)}, "heads must be distinct positive integers in ascending order"),
        ({"attention_depths": (0, 1)}, "attention_depths must be distinct positive integers"),
        ({"key_strides": ()}, "key_strides must be distinct"),
        ({"kernels": (4,)}, "kernels of hybrid are 3, 5, 7, got"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_space("hybrid", **options)
