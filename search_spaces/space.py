"""A search space: a table of genes, a table of slots, and the layers of every slot's variants.

A *genotype* is a row of choice indices, one a gene; a population is an integer array ``(n, n_genes)``.
Everything here is vectorised over populations. A *slot* is a place in the network; its *variant* is a
mixed-radix number of the genes it depends on, so that every cost on paper is an array over (slot, variant)
and costing a population is one gather and one sum (for peak memory, one maximum).
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from search_spaces.layers import LayerSpec, peak_activation_elements

Population = NDArray[np.int16]
BYTES_PER_ELEMENT = {"float32": 4, "int8": 1}


@dataclass(frozen=True)
class Gene:
    """Something search may change.

    Attributes
    ----------
    name : unique in its space, e.g. ``stage2_block1_kernel``.
    kind : what it elastically changes, e.g. ``kernel``; training recipes open genes by kind.
    symbol : its letters in an architecture's string, e.g. ``k``; empty when the string implies it (depth).
    values : its choices in ascending cost.
    labels : how the choices are written, where the bare number would not say (operators).
    needs : ``(gene, minimum)``: the gene matters only while that earlier gene's value is at least `minimum`.
    """

    name: str
    kind: str
    symbol: str
    values: tuple[int, ...]
    labels: tuple[str, ...] = ()
    needs: tuple[str, int] | None = None

    def label(self, choice: int) -> str:
        """How choice number `choice` is written in an architecture's string."""
        return self.symbol + (self.labels[choice] if self.labels else str(self.values[choice]))


@dataclass(frozen=True)
class Slot:
    """A place in the network.

    Attributes
    ----------
    name : unique in its space.
    group : slots of one group (a stage) stand together in an architecture's string.
    genes : names of the genes that choose this slot's operator.
    context : names of further genes its cost depends on (resolution, an elastic input width).
    needs : as in `Gene`: the slot is empty while that gene's value is below the minimum.
    """

    name: str
    group: str
    genes: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    needs: tuple[str, int] | None = None


class Costs(NamedTuple):
    """Costs on paper of a population; each an integer array of shape ``(n,)``, for one image."""

    macs: NDArray[np.int64]
    params: NDArray[np.int64]
    weight_bytes: NDArray[np.int64]
    peak_activation_bytes: NDArray[np.int64]


class SearchSpace(ABC):
    """What can be built.

    Parameters
    ----------
    name : the registered name, as written in latency tables and on the command line.
    genes, slots : the tables. Slots run in network order: each reads the previous one's output.
    num_classes : outputs of the classifier.
    """

    def __init__(self, name: str, genes: Sequence[Gene], slots: Sequence[Slot], num_classes: int) -> None:
        self.name = name
        self.genes = tuple(genes)
        self.slots = tuple(slots)
        self.num_classes = num_classes
        self._column = {gene.name: i for i, gene in enumerate(self.genes)}

    @abstractmethod
    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """Layers of `slot` when its genes and context have the *values* in `choice`; never for an empty slot."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The keyword arguments that make this space again: ``get_space(space.name, **space.options)``."""

    # Tables that follow from genes and slots -----------------------------------------------------------

    @cached_property
    def n_choices(self) -> NDArray[np.int16]:
        """Choices of each gene, shape ``(n_genes,)``."""
        return np.array([len(gene.values) for gene in self.genes], dtype=np.int16)

    @cached_property
    def _values(self) -> NDArray[np.int64]:
        table = np.zeros((len(self.genes), self.n_choices.max()), dtype=np.int64)
        for i, gene in enumerate(self.genes):
            table[i, : len(gene.values)] = gene.values
        return table

    def _condition(self, needs: Sequence[tuple[str, int] | None]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        columns = np.array([self._column[n[0]] if n else 0 for n in needs], dtype=np.intp)
        # An unconditional entry needs at least the least value there is: always true.
        minima = np.array([n[1] if n else np.iinfo(np.int64).min for n in needs], dtype=np.int64)
        return columns, minima

    @cached_property
    def _gene_condition(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        return self._condition([gene.needs for gene in self.genes])

    @cached_property
    def _slot_condition(self) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        return self._condition([slot.needs for slot in self.slots])

    def _slot_genes(self, slot: Slot) -> list[Gene]:
        return [self.genes[self._column[name]] for name in (*slot.context, *slot.genes)]

    @cached_property
    def n_variants(self) -> NDArray[np.int64]:
        """Variants of each slot, shape ``(n_slots,)``; number 0 of an optional slot is the empty one."""
        counts = [prod(len(g.values) for g in self._slot_genes(s)) + (s.needs is not None) for s in self.slots]
        return np.array(counts, dtype=np.int64)

    @cached_property
    def _radix(self) -> NDArray[np.float64]:
        # Floats because only float matrix products use BLAS; the numbers stay far below 2**53.
        radix = np.zeros((len(self.genes), len(self.slots)))
        for s, slot in enumerate(self.slots):
            weight = 1
            for gene in reversed(self._slot_genes(slot)):
                radix[self._column[gene.name], s] = weight
                weight *= len(gene.values)
        return radix

    # Populations ---------------------------------------------------------------------------------------

    def as_population(self, population: NDArray[Any]) -> Population:
        """Check genotypes and return them as ``(n, n_genes)``.

        Raises
        ------
        ValueError : wrong number of genes, or a choice that its gene does not have.
        """
        rows = np.atleast_2d(np.asarray(population))
        if rows.ndim != 2 or rows.shape[1] != len(self.genes):
            raise ValueError(f"space {self.name} has {len(self.genes)} genes, the genotypes have {rows.shape[-1]}")
        if rows.size and ((rows < 0) | (rows >= self.n_choices)).any():
            gene = self.genes[int(np.argwhere((rows < 0) | (rows >= self.n_choices))[0, 1])]
            raise ValueError(f"gene {gene.name} has choices 0 to {len(gene.values) - 1}, a genotype is outside them")
        return rows.astype(np.int16, copy=False)

    def gene_values(self, population: NDArray[Any]) -> NDArray[np.int64]:
        """Values instead of choice indices, shape ``(n, n_genes)``."""
        values: NDArray[np.int64] = self._values[np.arange(len(self.genes)), np.atleast_2d(population)]
        return values

    def active(self, population: NDArray[Any]) -> NDArray[np.bool_]:
        """Which genes matter, shape ``(n, n_genes)``."""
        columns, minima = self._gene_condition
        return self.gene_values(population)[:, columns] >= minima

    def canonical(self, population: NDArray[Any]) -> Population:
        """Genotypes with the genes of absent blocks set to 0, so that equal networks are equal rows."""
        rows = self.as_population(population)
        return np.where(self.active(rows), rows, np.int16(0))

    def sample(self, n: int, rng: np.random.Generator) -> Population:
        """`n` canonical genotypes, every gene uniform over its choices."""
        return self.canonical(self._random_rows(n, rng))

    def _random_rows(self, n: int, rng: np.random.Generator) -> Population:
        return rng.integers(0, self.n_choices, size=(n, len(self.genes)), dtype=np.int16)

    def mutate(self, population: NDArray[Any], rate: float, rng: np.random.Generator) -> Population:
        """Redraw every gene with probability `rate`; genes of blocks that appear by it are drawn afresh."""
        rows = self.as_population(population)
        fresh = self._random_rows(len(rows), rng)
        redraw = (rng.random(rows.shape) < rate) | ~self.active(rows)
        return self.canonical(np.where(redraw, fresh, rows))

    def crossover(self, first: NDArray[Any], second: NDArray[Any], rng: np.random.Generator) -> Population:
        """Uniform crossover row by row; a gene that only one parent uses is taken from that parent."""
        a, b = self.as_population(first), self.as_population(second)
        active_a, active_b = self.active(a), self.active(b)
        from_a = np.where(active_a == active_b, rng.random(a.shape) < 0.5, active_a)
        return self.canonical(np.where(from_a, a, b))

    @cached_property
    def min(self) -> Population:
        """The genotype with every gene at its first choice, shape ``(n_genes,)``."""
        return np.zeros(len(self.genes), dtype=np.int16)

    @cached_property
    def max(self) -> Population:
        """The genotype with every gene at its last choice, shape ``(n_genes,)``."""
        return np.asarray(self.n_choices - 1, dtype=np.int16)

    @cached_property
    def size(self) -> int:
        """Number of different networks, exactly."""

        def subtree(gene: Gene) -> int:
            children = [g for g in self.genes if g.needs and g.needs[0] == gene.name]
            return sum(
                prod(subtree(child) for child in children if child.needs and value >= child.needs[1])
                for value in gene.values
            )

        return prod(subtree(gene) for gene in self.genes if gene.needs is None)

    # Slots, encodings, costs ---------------------------------------------------------------------------

    def variants(self, population: NDArray[Any]) -> NDArray[np.int64]:
        """Variant of every slot, shape ``(n, n_slots)``."""
        rows = self.as_population(population)
        columns, minima = self._slot_condition
        present = self.gene_values(rows)[:, columns] >= minima
        optional = minima > np.iinfo(np.int64).min
        return np.where(present, (rows @ self._radix).astype(np.int64) + optional, 0)

    @cached_property
    def _encoding(self) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64], int]:
        """Columns of the context genes, then sizes and starts of the one-hot groups, and the width."""
        context = list(dict.fromkeys(name for slot in self.slots for name in slot.context))
        columns = np.array([self._column[name] for name in context], dtype=np.intp)
        choosing = [prod(len(self.genes[self._column[n]].values) for n in s.genes) for s in self.slots if s.genes]
        sizes = np.array([*self.n_choices[columns], *choosing], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        return columns, sizes, starts, int(sizes.sum())

    def encode(self, population: NDArray[Any]) -> NDArray[np.float32]:
        """One-hot encoding that predictors read, shape ``(n, width)``.

        One group for each context gene (resolution), then one for each slot that has a choice: one column
        for each of its operators, all zero where the slot is empty.
        """
        rows = self.as_population(population)
        context, sizes, starts, width = self._encoding
        chosen = [s for s, slot in enumerate(self.slots) if slot.genes]
        optional = np.array([self.slots[s].needs is not None for s in chosen], dtype=np.int64)
        operator = self.variants(rows)[:, chosen] - optional
        present = operator >= 0
        codes = np.concatenate([rows[:, context], operator % sizes[len(context) :]], axis=1)
        keep = np.concatenate([np.ones((len(rows), len(context)), dtype=bool), present], axis=1)
        out = np.zeros((len(rows), width), dtype=np.float32)
        row, group = np.nonzero(keep)
        out[row, starts[group] + codes[row, group]] = 1
        return out

    def variant_layers(self, slot: int, variant: int) -> tuple[LayerSpec, ...]:
        """Layers of variant number `variant` of slot number `slot`; empty for an absent block."""
        place = self.slots[slot]
        if place.needs is not None:
            variant -= 1
            if variant < 0:
                return ()
        choice = {}
        for gene in reversed(self._slot_genes(place)):
            variant, index = divmod(variant, len(gene.values))
            choice[gene.name] = gene.values[index]
        return self.slot_layers(place, choice)

    def layers(self, genotype: NDArray[Any]) -> list[tuple[LayerSpec, ...]]:
        """The layers of one network, slot by slot; an absent block is an empty tuple."""
        (row,) = self.variants(genotype)
        return [self.variant_layers(slot, int(variant)) for slot, variant in enumerate(row)]

    @cached_property
    def _slot_offsets(self) -> NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(self.n_variants)[:-1]]).astype(np.int64)

    @cached_property
    def _cost_tables(self) -> NDArray[np.int64]:
        """MACs, parameters, weights, biases, peak elements of every (slot, variant), shape ``(5, total)``."""
        columns = []
        for slot, n_variants in enumerate(self.n_variants):
            for variant in range(n_variants):
                layers = self.variant_layers(slot, variant)
                weights = sum(layer.weight_count for layer in layers)
                columns.append(
                    (
                        sum(layer.macs for layer in layers),
                        sum(layer.params for layer in layers),
                        weights,
                        sum(layer.weight_bytes(0) for layer in layers),
                        peak_activation_elements(layers),
                    )
                )
        return np.array(columns, dtype=np.int64).T

    def costs(self, population: NDArray[Any], precision: str = "float32") -> Costs:
        """Costs on paper of `population`, for one image.

        Parameters
        ----------
        population : int array of shape (n, n_genes).
        precision : ``float32`` or ``int8``, of weights and activations (biases stay 4 bytes).

        Raises
        ------
        ValueError : unknown precision, or genotypes that are not of this space.
        """
        if precision not in BYTES_PER_ELEMENT:
            raise ValueError(f"unknown precision {precision!r}; known: {', '.join(BYTES_PER_ELEMENT)}")
        width = BYTES_PER_ELEMENT[precision]
        cells = self.variants(population) + self._slot_offsets
        macs, params, weights, bias_bytes, peak = self._cost_tables
        return Costs(
            macs[cells].sum(axis=1),
            params[cells].sum(axis=1),
            (width * weights + bias_bytes)[cells].sum(axis=1),
            width * peak[cells].max(axis=1),
        )

    # Names ---------------------------------------------------------------------------------------------

    @cached_property
    def _groups(self) -> dict[str, list[Slot]]:
        groups: dict[str, list[Slot]] = {}
        for slot in self.slots:
            if slot.genes:
                groups.setdefault(slot.group, []).append(slot)
        return groups

    @cached_property
    def _context_genes(self) -> list[Gene]:
        names = dict.fromkeys(name for slot in self.slots for name in slot.context)
        return [self.genes[self._column[name]] for name in names]

    @overload
    def format(self, population: "np.ndarray[tuple[int], Any]") -> str: ...
    @overload
    def format(self, population: "np.ndarray[tuple[int, int], Any]") -> list[str]: ...
    @overload
    def format(self, population: NDArray[Any]) -> Any: ...
    def format(self, population: NDArray[Any]) -> Any:
        """The readable name of a genotype (or a list of them), e.g. ``r160-k3e4_k5e6-k7e3_k3e3``.

        Context genes first, then one part for each group of slots; within it one token for each block that
        is there. Safe in file names, CSV cells and on the command line.
        """
        names = [self._format_row(row) for row in self.canonical(population)]
        return names[0] if np.ndim(population) == 1 else names

    def _format_row(self, row: Population) -> str:
        values = self.gene_values(row)[0]
        parts = [gene.label(int(row[self._column[gene.name]])) for gene in self._context_genes]
        for slots in self._groups.values():
            present = [s for s in slots if s.needs is None or values[self._column[s.needs[0]]] >= s.needs[1]]
            tokens = ["".join(self._label(name, row) for name in slot.genes) for slot in present]
            parts.append("_".join(tokens))
        return "-".join(parts)

    def _label(self, gene: str, row: Population) -> str:
        column = self._column[gene]
        return self.genes[column].label(int(row[column]))

    def parse(self, text: str) -> Population:
        """The canonical genotype, shape ``(n_genes,)``, of a name made by `format`.

        Raises
        ------
        ValueError : not an architecture of this space; says which part and what is allowed.
        """
        row = self.min.copy()
        parts = text.strip().split("-")
        expected = len(self._context_genes) + len(self._groups)
        example = self._format_row(self.min)
        if len(parts) != expected:
            raise ValueError(
                f"{text!r} has {len(parts)} parts, an architecture of {self.name} has {expected}, like {example}"
            )
        for gene, part in zip(self._context_genes, parts, strict=False):
            self._parse_token([gene], part, row)
        for (group, slots), part in zip(self._groups.items(), parts[len(self._context_genes) :], strict=True):
            tokens = part.split("_")
            self._parse_depth(group, slots, len(tokens), row)
            for slot, token in zip(slots, tokens, strict=False):
                self._parse_token([self.genes[self._column[name]] for name in slot.genes], token, row)
        (parsed,) = self.canonical(row)
        return np.asarray(parsed)

    def _parse_depth(self, group: str, slots: list[Slot], n_tokens: int, row: Population) -> None:
        """Set the gene that says how many of a group's slots are there."""
        fixed = sum(slot.needs is None for slot in slots)
        conditions = [slot.needs for slot in slots if slot.needs is not None]
        if not conditions:
            allowed = {fixed: 0}
        else:
            gene = self.genes[self._column[conditions[0][0]]]
            allowed = {fixed + sum(v >= minimum for _, minimum in conditions): i for i, v in enumerate(gene.values)}
        if n_tokens not in allowed:
            raise ValueError(
                f"{group} of {self.name} has {' or '.join(map(str, sorted(allowed)))} blocks, not {n_tokens}"
            )
        if conditions:
            row[self._column[conditions[0][0]]] = allowed[n_tokens]

    def _parse_token(self, genes: Sequence[Gene], token: str, row: Population) -> None:
        pattern = "".join(f"({'|'.join(re.escape(gene.label(i)) for i in range(len(gene.values)))})" for gene in genes)
        match = re.fullmatch(pattern, token)
        if match is None:
            allowed = " then ".join("/".join(g.label(i) for i in range(len(g.values))) for g in genes)
            raise ValueError(f"{token!r} is not a token of space {self.name}; allowed: {allowed}")
        for gene, label in zip(genes, match.groups(), strict=True):
            choice = next(i for i in range(len(gene.values)) if gene.label(i) == label)
            row[self._column[gene.name]] = choice
