"""The readable names of architectures, and the way back.

``r160-k3e4_k5e6-k7e3_k3e3``: genes that hold for the whole network first, then one part for each group of
tokens; within it one word for each token that is there. Safe in file names, CSV cells and on a command line.
"""

import re
from collections.abc import Mapping, Sequence

from search_spaces.genes import Gene, Token


class Grammar:
    """How the architectures of one space are written.

    Parameters
    ----------
    space : name of the space, for messages.
    genes : its genes by name.
    context : the genes written first, one part each.
    tokens : the rest, in order.
    """

    def __init__(self, space: str, genes: Mapping[str, Gene], context: Sequence[Gene], tokens: Sequence[Token]) -> None:
        self._space = space
        self._genes = genes
        self._context = context
        self._groups: dict[str, list[Token]] = {}
        for token in tokens:
            self._groups.setdefault(token.group, []).append(token)

    def format(self, choice: Mapping[str, int]) -> str:
        """The name of the genotype with these choice indices by gene."""
        parts = [gene.label(choice[gene.name]) for gene in self._context]
        for tokens in self._groups.values():
            words = [
                "".join(self._genes[name].label(choice[name]) for name in token.genes)
                for token in self._present(tokens, choice)
            ]
            parts.append("_".join(words))
        return "-".join(parts)

    def _present(self, tokens: Sequence[Token], choice: Mapping[str, int]) -> list[Token]:
        """The tokens that are there."""
        return [t for t in tokens if t.needs is None or self._value(t.needs[0], choice) >= t.needs[1]]

    def _value(self, gene: str, choice: Mapping[str, int]) -> int:
        return self._genes[gene].values[choice[gene]]

    def parse(self, text: str) -> dict[str, int]:
        """Choice indices by gene; genes of what is absent are left out.

        Raises
        ------
        ValueError : not an architecture of this space; says which part and what is allowed.
        """
        parts = text.strip().split("-")
        expected = len(self._context) + len(self._groups)
        if len(parts) != expected:
            example = self.format(dict.fromkeys(self._genes, 0))
            raise ValueError(
                f"{text!r} has {len(parts)} parts, an architecture of {self._space} has {expected}, like {example}"
            )
        choice: dict[str, int] = {}
        for gene, part in zip(self._context, parts, strict=False):
            choice |= self._parse_word([gene], part)
        for (group, tokens), part in zip(self._groups.items(), parts[len(self._context) :], strict=True):
            words = part.split("_")
            choice |= self._parse_depth(group, tokens, len(words))
            for token, word in zip(self._present(tokens, choice), words, strict=True):
                choice |= self._parse_word([self._genes[name] for name in token.genes], word)
        return choice

    def _parse_depth(self, group: str, tokens: Sequence[Token], n_words: int) -> dict[str, int]:
        """The gene that says how many of a group's tokens are there."""
        conditions = [token.needs for token in tokens if token.needs is not None]
        fixed = len(tokens) - len(conditions)
        gene = self._genes[conditions[0][0]] if conditions else None
        allowed = {fixed: 0}
        if gene:
            allowed = {fixed + sum(v >= least for _, least in conditions): i for i, v in enumerate(gene.values)}
        if n_words not in allowed:
            counts = " or ".join(map(str, sorted(allowed)))
            raise ValueError(f"{group} of {self._space} has {counts} words joined by '_', not {n_words}")
        return {gene.name: allowed[n_words]} if gene else {}

    def _parse_word(self, genes: Sequence[Gene], word: str) -> dict[str, int]:
        labels = [[gene.label(i) for i in range(len(gene.values))] for gene in genes]
        pattern = "".join(f"({'|'.join(map(re.escape, choices))})" for choices in labels)
        match = re.fullmatch(pattern, word)
        if match is None:
            allowed = " then ".join("/".join(choices) for choices in labels)
            raise ValueError(f"{word!r} is not a word of space {self._space}; allowed: {allowed}")
        return {
            gene.name: choices.index(label) for gene, choices, label in zip(genes, labels, match.groups(), strict=True)
        }
