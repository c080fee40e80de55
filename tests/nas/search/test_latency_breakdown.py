import numpy as np
import pytest

from nas.search.latency import Latency
from nas.search.latency_breakdown import latency_breakdown, parts_of
from nas.search.objectives import Objectives
from search_spaces import Population, SearchSpace, get_space

SPACES = [
    get_space("mobilenet_v3_small_images"),
    get_space("mobilenet_v3", resolutions=(160, 224)),
    get_space("fbnet"),
    get_space("nasbench201"),
]


class SlotLatency:
    def __init__(self, space: SearchSpace) -> None:
        rng = np.random.default_rng(0)
        self.space, self.table = space, np.concatenate([np.sort(rng.random(n)) for n in space.n_variants])
        self.first = np.concatenate([[0], np.cumsum(space.n_variants)[:-1]])

    def predict(self, population: Population) -> np.ndarray:
        return self.table[self.space.variants(population) + self.first].sum(axis=1)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_parts_add_up_to_the_prediction(space: SearchSpace) -> None:
    latency = SlotLatency(space)
    network = space.sample(1, np.random.default_rng(1))[0]
    objectives = Objectives(space, latency, {"a": latency})  # type: ignore[arg-type]
    objectives.latency_scale[Latency("a")] = 2.0
    records = latency_breakdown(objectives, network)
    assert [record["part"] for record in records] == ["min net", *parts_of(space), "jointly"]
    for column, row in (("chosen_ms", network), ("max_net_ms", space.max)):
        assert sum(float(record[column]) for record in records) == pytest.approx(2 * latency.predict(row[None])[0])
    assert records[0]["chosen_ms"] == pytest.approx(2 * latency.predict(space.min[None])[0])
    independent = not any(slot.context for slot in space.slots) and "stage1" in parts_of(space)
    assert not independent or abs(float(records[-1]["chosen_ms"])) < 1e-9
    # What a part adds is what is saved without it.
    name, genes = list(parts_of(space).items())[0]
    without = network.copy()
    without[genes] = 0
    saved = latency.predict(network[None]) - latency.predict(space.canonical(without))
    assert records[1]["part"] == name
    assert records[1]["chosen_ms"] == pytest.approx(2 * saved[0])


def test_every_gene_with_a_choice_is_in_one_part() -> None:
    for space in SPACES:
        genes = [gene for part in parts_of(space).values() for gene in part]
        assert sorted(genes) == [i for i, gene in enumerate(space.genes) if len(gene.values) > 1]


def test_no_breakdown_where_no_latency_is_predicted() -> None:
    space = SPACES[0]
    assert latency_breakdown(Objectives(space, SlotLatency(space), None), space.max) == []  # type: ignore[arg-type]
