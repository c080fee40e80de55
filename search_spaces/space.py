"""A search space: a table of genes, a table of slots, and the layers of every slot's variants.

A *genotype* is a row of choice indices, one a gene; a population is an integer array ``(n, n_genes)``.
Everything here is vectorised over populations. A *slot* is a place in the network; its *variant* is a
mixed-radix number of the genes it depends on, so that every cost on paper is an array over (slot, variant)
and costing a population is one gather and one sum (for peak memory, one maximum).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from math import prod
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from search_spaces.costs import N_QUANTITIES, Costs, costs_of_cells, layers_costs
from search_spaces.genes import Gene, Slot, Token
from search_spaces.layers import LayerSpec
from search_spaces.names import Grammar
from search_spaces.tables import SlotTable

Population = NDArray[np.int16]
Condition = tuple[str, int] | None


class SearchSpace(ABC):
    """What can be built.

    Parameters
    ----------
    name : the registered name, as written in latency tables and on the command line.
    genes, slots : the tables. Slots run in network order: each reads the previous one's output.
    num_classes : outputs of the classifier.

    Attributes
    ----------
    columns : column of each gene in a genotype, by the gene's name.
    resolution_column : that of the gene that chooses the resolution; None where all networks read one size.
    may_be_cut : whether there are networks that nothing of the image gets through; see `connected`.
    """

    may_be_cut = False

    def __init__(self, name: str, genes: Sequence[Gene], slots: Sequence[Slot], num_classes: int) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.name = name
        self.genes = tuple(genes)
        self.slots = tuple(slots)
        self.num_classes = num_classes
        self.columns = {gene.name: i for i, gene in enumerate(self.genes)}
        self.resolution_column = next((i for i, gene in enumerate(self.genes) if gene.kind == "resolution"), None)
        self._weight_layers: dict[str, tuple[LayerSpec, ...]] = {}

    @abstractmethod
    def slot_layers(self, slot: Slot, choice: Mapping[str, int]) -> tuple[LayerSpec, ...]:
        """Layers of `slot` when its genes and context have the *values* in `choice`; never for an empty slot."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The keyword arguments that make this space again: ``get_space(space.name, **space.options)``."""

    @property
    def named(self) -> Mapping[str, str]:
        """Architectures that have a name of their own, which `parse` takes too."""
        return {}

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """Words of a name, and groups of the encoding: one for each slot that has a choice."""
        return tuple(Token(slot.group, slot.genes, slot.needs) for slot in self.slots if slot.genes)

    @cached_property
    def context_genes(self) -> tuple[Gene, ...]:
        """Genes that slots read besides their own (the resolution, an elastic input width), in order of first use."""
        names = dict.fromkeys(name for slot in self.slots for name in slot.context)
        return tuple(self.genes[self.columns[name]] for name in names)

    @cached_property
    def n_choices(self) -> NDArray[np.int16]:
        """Choices of each gene, shape ``(n_genes,)``."""
        return np.array([len(gene.values) for gene in self.genes], dtype=np.int16)

    @cached_property
    def _n_choices_unsigned(self) -> NDArray[np.uint16]:
        return self.n_choices.astype(np.uint16)

    @cached_property
    def _values(self) -> NDArray[np.int64]:
        table = np.zeros((len(self.genes), self.n_choices.max()), dtype=np.int64)
        for i, gene in enumerate(self.genes):
            table[i, : len(gene.values)] = gene.values
        return table

    def _conditions(self, needs: Sequence[Condition]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int16]]:
        """Which entries are conditional, the column each depends on, and the least choice it needs there."""
        conditional = [(i, self.columns[n[0]], n[1]) for i, n in enumerate(needs) if n is not None]
        entries = np.array([i for i, _, _ in conditional], dtype=np.intp)
        columns = np.array([column for _, column, _ in conditional], dtype=np.intp)
        least = [np.searchsorted(self.genes[column].values, minimum) for _, column, minimum in conditional]
        return entries, columns, np.array(least, dtype=np.int16)

    @cached_property
    def _gene_conditions(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int16]]:
        return self._conditions([gene.needs for gene in self.genes])

    @cached_property
    def _slot_conditions(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int16]]:
        return self._conditions([slot.needs for slot in self.slots])

    def _slot_genes(self, slot: Slot) -> list[Gene]:
        return [self.genes[self.columns[name]] for name in (*slot.context, *slot.genes)]

    @cached_property
    def n_variants(self) -> NDArray[np.int64]:
        """Variants of each slot, shape ``(n_slots,)``; number 0 of an optional slot is the empty one."""
        counts = [prod(len(g.values) for g in self._slot_genes(s)) + (s.needs is not None) for s in self.slots]
        return np.array(counts, dtype=np.int64)

    def _mixed_radix(self, rows_of_genes: Sequence[Sequence[str]]) -> NDArray[np.floating[Any]]:
        """Weights that turn a genotype into one number for each list of genes, shape ``(n_genes, n_lists)``."""
        radix = np.zeros((len(self.genes), len(rows_of_genes)))
        for i, names in enumerate(rows_of_genes):
            weight = 1
            for name in reversed(names):
                radix[self.columns[name], i] = weight
                weight *= len(self.genes[self.columns[name]].values)
        # Floats because only float matrix products use BLAS; exact as long as the numbers fit the mantissa.
        return radix.astype(np.float32) if (self.n_choices @ radix).max(initial=0) < 2**24 else radix

    @cached_property
    def _radix(self) -> NDArray[np.floating[Any]]:
        return self._mixed_radix([(*slot.context, *slot.genes) for slot in self.slots])

    def as_population(self, population: NDArray[Any]) -> Population:
        """Check genotypes and return them as ``(n, n_genes)``.

        Raises
        ------
        ValueError : wrong number of genes, not integers, or a choice that its gene does not have.
        """
        rows = np.atleast_2d(np.asarray(population))
        if rows.ndim != 2 or rows.shape[1] != len(self.genes):
            raise ValueError(f"space {self.name} has {len(self.genes)} genes, the genotypes have {rows.shape[-1]}")
        if rows.size and rows.dtype.kind not in "iu":
            raise ValueError(f"genotypes of {self.name} are rows of integers (choice indices), not {rows.dtype}")
        # Seen as unsigned a negative choice is a huge one, so one comparison finds both.
        if rows.size and (rows.view(rows.dtype.str.replace("i", "u")) >= self._n_choices_unsigned).any():
            gene = self.genes[int(np.argwhere((rows < 0) | (rows >= self.n_choices))[0, 1])]
            raise ValueError(f"gene {gene.name} has choices 0 to {len(gene.values) - 1}, a genotype is outside them")
        return rows.astype(np.int16, copy=False)

    def gene_values(self, population: NDArray[Any]) -> NDArray[np.int64]:
        """Values instead of choice indices, shape ``(n, n_genes)``."""
        values: NDArray[np.int64] = self._values[np.arange(len(self.genes)), np.atleast_2d(population)]
        return values

    def from_values(self, values: NDArray[Any]) -> Population:
        """Canonical genotypes from gene values: the way back from `gene_values`.

        Parameters
        ----------
        values : int array of shape (n, n_genes), or without the genes that have a single choice.

        Raises
        ------
        ValueError : another number of columns, or a value that its gene does not have.
        """
        given = np.atleast_2d(np.asarray(values))
        free = [i for i, gene in enumerate(self.genes) if len(gene.values) > 1]
        columns = free if given.shape[1] == len(free) else list(range(len(self.genes)))
        if given.shape[1] != len(columns):
            raise ValueError(f"space {self.name} has {len(free)} genes with a choice, the rows have {given.shape[1]}")
        rows = np.zeros((len(given), len(self.genes)), dtype=np.int16)
        for column, wanted in zip(columns, given.T, strict=True):
            matches = wanted[:, None] == np.array(self.genes[column].values)
            if not matches.any(axis=1).all():
                gene = self.genes[column]
                unknown = wanted[~matches.any(axis=1)][0]
                raise ValueError(f"gene {gene.name} has the values {sorted(gene.values)}, not {unknown}")
            rows[:, column] = matches.argmax(axis=1)
        return self.canonical(rows)

    def active(self, population: NDArray[Any]) -> NDArray[np.bool_]:
        """Which genes matter, shape ``(n, n_genes)``."""
        return self._active(self.as_population(population))

    def _active(self, rows: Population) -> NDArray[np.bool_]:
        genes, columns, least = self._gene_conditions
        active = np.ones(rows.shape, dtype=bool)
        active[:, genes] = rows[:, columns] >= least
        return active

    def canonical(self, population: NDArray[Any]) -> Population:
        """Genotypes with the genes of absent blocks set to 0, so that equal networks are equal rows."""
        rows = self.as_population(population)
        return rows * self._active(rows)

    def sample(self, n: int, rng: np.random.Generator, tilt: float = 0.0) -> Population:
        """`n` canonical genotypes.

        Parameters
        ----------
        n, rng : how many, and the randomness.
        tilt : 0 draws every gene uniformly over its choices, and costs crowd around their middle. Above 0 each
            network as a whole is tilted towards cheap or dear choices, by up to a power of ``exp(tilt)``, so
            that costs spread from the min to the max net; 1.5 is good for fitting predictors.
        """
        if tilt == 0:
            return self.canonical(self._random_rows(n, rng))
        power = np.exp(rng.uniform(-tilt, tilt, size=(n, 1)))
        choices = rng.random((n, len(self.genes))) ** power * self.n_choices
        return self.canonical(np.minimum(choices.astype(np.int16), self.n_choices - 1))

    def _random_rows(self, n: int, rng: np.random.Generator) -> Population:
        # Several times faster than integers() with one bound a column; below 1, so the bound is never reached.
        return (rng.random((n, len(self.genes)), dtype=np.float32) * self.n_choices.astype(np.float32)).astype(np.int16)

    def mutate(self, population: NDArray[Any], rate: float, rng: np.random.Generator) -> Population:
        """Redraw every gene with probability `rate`; genes of blocks that appear by it are drawn afresh."""
        rows = self.as_population(population)
        fresh = self._random_rows(len(rows), rng)
        redraw = (rng.random(rows.shape, dtype=np.float32) < rate) | ~self._active(rows)
        return self.canonical(np.where(redraw, fresh, rows))

    def crossover(self, first: NDArray[Any], second: NDArray[Any], rng: np.random.Generator) -> Population:
        """Uniform crossover row by row; a gene that only one parent uses is taken from that parent."""
        a, b = self.as_population(first), self.as_population(second)
        active_a, active_b = self._active(a), self._active(b)
        from_a = np.where(active_a == active_b, rng.random(a.shape, dtype=np.float32) < 0.5, active_a)
        return self.canonical(np.where(from_a, a, b))

    def connected(self, population: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether anything of the image reaches the classifier, shape ``(n,)``; in most spaces it always does."""
        return np.ones(len(np.atleast_2d(population)), dtype=bool)

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
        """Number of architectures, exactly; in `resnet50` and `nasbench201` some of them are the same network."""

        def subtree(gene: Gene) -> int:
            children = [g for g in self.genes if g.needs and g.needs[0] == gene.name]
            return sum(
                prod(subtree(child) for child in children if child.needs and value >= child.needs[1])
                for value in gene.values
            )

        return prod(subtree(gene) for gene in self.genes if gene.needs is None)

    def variants(self, population: NDArray[Any]) -> NDArray[np.int64]:
        """Variant of every slot, shape ``(n, n_slots)``."""
        rows = self.as_population(population)
        slots, columns, least = self._slot_conditions
        variants: NDArray[np.int64] = (rows.astype(self._radix.dtype) @ self._radix).astype(np.int64)
        variants[:, slots] = (variants[:, slots] + 1) * (rows[:, columns] >= least)
        return variants

    @cached_property
    def _encoding(self) -> tuple[list[Token], NDArray[np.floating[Any]], NDArray[np.int64], int]:
        """The one-hot groups, the weights of genes in them, their first columns, and the width."""
        groups = [Token("", (gene.name,)) for gene in self.context_genes] + list(self.tokens)
        sizes = [prod(len(self.genes[self.columns[n]].values) for n in group.genes) for group in groups]
        # A constant says nothing, unless it says whether a block is there.
        kept = [(g, size) for g, size in zip(groups, sizes, strict=True) if size > 1 or g.needs]
        starts = np.cumsum([0, *(size for _, size in kept)], dtype=np.int64)
        radix = self._mixed_radix([group.genes for group, _ in kept])
        return [group for group, _ in kept], radix, starts[:-1], int(starts[-1])

    @cached_property
    def _encoding_conditions(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int16]]:
        return self._conditions([group.needs for group in self._encoding[0]])

    def encode(self, population: NDArray[Any]) -> NDArray[np.float32]:
        """One-hot encoding that predictors read, shape ``(n, width)``.

        One group for each context gene (resolution) that has a choice, then one for each token: one column
        for each of its operators, all zero where the block is absent.
        """
        cells = self.encoding_cells(population)
        width = self.encoding_width
        out = np.zeros((len(cells), width + 1), dtype=np.float32)
        cells += (width + 1) * np.arange(len(cells), dtype=np.int64)[:, None]
        out.reshape(-1)[cells] = 1
        return out[:, :width]

    @property
    def encoding_width(self) -> int:
        """Columns of `encode`."""
        return self._encoding[3]

    def encoding_cells(self, population: NDArray[Any]) -> NDArray[np.int64]:
        """Which columns of `encode` are 1, shape ``(n, n_groups)``; the width itself stands for an absent block."""
        rows = self.as_population(population)
        _, radix, starts, width = self._encoding
        conditional, columns, least = self._encoding_conditions
        cells: NDArray[np.int64] = (rows.astype(radix.dtype) @ radix).astype(np.int64) + starts
        cells[:, conditional] = np.where(rows[:, columns] >= least, cells[:, conditional], width)
        return cells

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

    def resolution(self, population: NDArray[Any]) -> NDArray[np.int64]:
        """Side in pixels of the images that each network reads, shape ``(n,)``."""
        rows = self.as_population(population)
        if self.resolution_column is not None:
            return self.gene_values(rows)[:, self.resolution_column]
        sizes = [next(layers[0].size for layers in self.layers(row) if layers) for row in rows]
        return np.array(sizes, dtype=np.int64)

    def weight_layers(self, slot: Slot) -> tuple[LayerSpec, ...]:
        """Every layer that some variant of `slot` has, at the highest resolution; others have the same weights."""
        key = slot.same_as or slot.name
        if key not in self._weight_layers:
            genes = self._slot_genes(slot)
            names = [gene.name for gene in genes]
            values = [gene.values[-1:] if gene.kind == "resolution" else gene.values for gene in genes]
            variants = (self.slot_layers(slot, dict(zip(names, choice, strict=True))) for choice in product(*values))
            self._weight_layers[key] = tuple(dict.fromkeys(layer for layers in variants for layer in layers))
        return self._weight_layers[key]

    @cached_property
    def _cost_table(self) -> SlotTable:
        return SlotTable(self, layers_costs, N_QUANTITIES, np.int64)

    def costs(self, population: NDArray[Any], precision: str = "float32") -> Costs:
        """Costs on paper of `population`, for one image.

        Parameters
        ----------
        population : int array of shape (n, n_genes).
        precision : ``float32``, ``float16`` or ``int8``, of weights and activations (biases stay 4 bytes).

        Raises
        ------
        ValueError : unknown precision, or genotypes that are not of this space.
        """
        return costs_of_cells(self._cost_table, self._cost_table.cells(population), precision)

    @cached_property
    def _grammar(self) -> Grammar:
        return Grammar(self.name, {gene.name: gene for gene in self.genes}, self.context_genes, self.tokens)

    @overload
    def format(self, population: "np.ndarray[tuple[int], Any]") -> str: ...
    @overload
    def format(self, population: "np.ndarray[tuple[int, int], Any]") -> list[str]: ...
    @overload
    def format(self, population: NDArray[Any]) -> Any: ...
    def format(self, population: NDArray[Any]) -> Any:
        """The readable name of a genotype (or a list of them), e.g. ``r160-k3e4_k5e6-k7e3_k3e3``."""
        rows = self.canonical(population).tolist()
        names = [self._grammar.format(dict(zip(self.columns, row, strict=True))) for row in rows]
        return names[0] if np.ndim(population) == 1 else names

    def parse(self, text: str) -> Population:
        """The canonical genotype, shape ``(n_genes,)``, of a name made by `format` or one of `named`.

        Raises
        ------
        ValueError : not an architecture of this space; says which part and what is allowed.
        """
        row = np.zeros(len(self.genes), dtype=np.int16)
        for gene, choice in self._grammar.parse(self.named.get(text.strip(), text)).items():
            row[self.columns[gene]] = choice
        return self.canonical(row).ravel()
