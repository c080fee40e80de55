"""The latency breakdown of a network: what each part of it adds to its predicted latency.

A part is a stage with its depth, or a gene that belongs to no stage. It adds the difference to the same
network with that part as in the min net. Where the prediction is a sum over slots these differences and the
min net's latency add up to the whole. Otherwise, as where the resolution changes what other genes cost, the remainder
belongs to no part alone and is a row of its own. Latencies are milliseconds.
"""

from dataclasses import asdict, dataclass

import numpy as np

from nas.search.objectives import Objectives
from search_spaces import Population, SearchSpace


@dataclass(frozen=True)
class PartLatency:
    """What one part adds to a predicted latency.

    Attributes
    ----------
    device : on which; empty where there is only one.
    part : its name; ``min net`` for what every network has, ``jointly`` for what belongs to no part alone.
    chosen_ms, max_net_ms : what it adds to the chosen network's latency, and to the max net's.
    """

    device: str
    part: str
    chosen_ms: float
    max_net_ms: float


def latency_breakdown(objectives: Objectives, genotype: Population) -> list[dict[str, str | float]]:
    """`PartLatency` of the network `genotype` (n_genes,) as records, in network order; for each latency they add up.

    The min net comes first, then the parts, then what they add jointly.
    """
    space = objectives.space
    parts = parts_of(space)
    rows = []
    for network in (space.canonical(genotype)[0], space.max):
        cheaper = np.repeat(network[None], len(parts), axis=0)
        for row, genes in zip(cheaper, parts.values(), strict=True):
            row[genes] = space.min[genes]
        rows += [network[None], cheaper]
    every = space.canonical(np.concatenate([space.min[None], *rows]))
    records = []
    for key in objectives.latencies:
        latency = objectives.mean_latency(every, key)
        least = float(latency[0])
        whole, without = latency[1:].reshape(2, -1)[:, :1], latency[1:].reshape(2, -1)[:, 1:]
        adds = whole - without  # (chosen and max net, parts)
        jointly = whole[:, 0] - least - adds.sum(axis=1)
        chosen, largest = np.column_stack([[least, least], adds, jointly])
        for name, ours, theirs in zip(("min net", *parts, "jointly"), chosen, largest, strict=True):
            records.append(asdict(PartLatency(key.device, name, float(ours), float(theirs))))
    return records


def parts_of(space: SearchSpace) -> dict[str, list[int]]:
    """Columns of the genes of each stage and of each gene outside of stages; genes without a choice are left out."""
    column = {name: i for name, i in space.columns.items() if space.n_choices[i] > 1}
    stages: dict[str, set[int]] = {}
    for slot in space.slots:
        names = [*slot.genes, *([slot.needs[0]] if slot.needs else [])]
        if genes := {column[name] for name in names if name in column}:
            stages.setdefault(slot.group, set()).update(genes)
    if sum(map(len, stages.values())) > len(set().union(*stages.values())):
        stages = {}  # every stage is made of the same genes
    parts = {name: sorted(genes) for name, genes in stages.items()}
    staged = {gene for genes in parts.values() for gene in genes}
    return parts | {name: [i] for name, i in column.items() if i not in staged}
