"""Genes, slots and tokens: the three tables that describe a search space.

A *gene* is what search changes, a *slot* is a place in the network whose operator the genes choose, and a
*token* is one word of an architecture's name (and one one-hot group of its encoding).
"""

from dataclasses import dataclass

TRAINING_KINDS = ("branches",)
"""Kinds of genes that change how a network is trained and what it answers, not what a device does and what it costs."""


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
    same_as : an earlier slot with equally many choices that make the same layers; costed once for both.
    """

    name: str
    group: str
    genes: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    needs: tuple[str, int] | None = None
    same_as: str = ""


@dataclass(frozen=True)
class Token:
    """One word of an architecture's name, written by `genes` side by side; absent as in `Slot.needs`."""

    group: str
    genes: tuple[str, ...]
    needs: tuple[str, int] | None = None
