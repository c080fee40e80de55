"""Latency tables: measured networks of one device, as a CSV file with a card beside it.

Latencies are milliseconds for one inference of the whole batch. A reader trusts nothing: every problem is one
sentence with the file and the line. What an architecture is, only a search space knows; as this package stands
below the spaces, they are handed in (`search_spaces.get_space`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from latency_tables.card import Card, read_card, write_card
from latency_tables.columns import numbers, parse_columns, read_columns, refuse
from latency_tables.files import shown, write_text
from latency_tables.plausible import WORK_SAMPLE, Work, check_plausible

COLUMNS = (
    "space",
    "architecture",
    "resolution",
    "batch",
    "precision",
    "latency_ms",
    "p10_ms",
    "p90_ms",
    "runs",
    "source",
)
"""``reference_ms`` may follow: the latency of one same network, timed in the same rounds."""
REQUIRED = ("space", "architecture", "latency_ms")
KEY = ("space", "architecture", "batch", "precision")
"""Rows that agree on these are measurements of the same thing."""
MAX_BYTES = 32 * 2**20
"""Of a CSV file: some 300,000 networks, read within seconds."""
PRECISIONS = ("float32", "float16", "int8")
DISAGREEMENT = 0.25
"""Two measurements of the same network further apart than this are a mistake; noise is a fifth of it."""


class Space(Protocol):
    """The part of a search space that a reader needs."""

    def parse(self, text: str, /) -> Any:
        """Genotype of an architecture's string, or a ValueError."""

    def format(self, population: Any, /) -> Any:
        """The string of a genotype."""

    def resolution(self, population: Any, /) -> Any:
        """Side in pixels of the images that each network reads."""

    def costs(self, population: Any, /) -> Any:
        """Costs on paper, with an array ``macs``."""

    def layers(self, genotype: Any, /) -> Any:
        """The layers of one network, slot by slot."""


FindSpace = Callable[[str], Space]
"""From what the column `space` says to the space, or a ValueError."""


@dataclass(frozen=True)
class LatencyTable:
    """Measurements of one device.

    Attributes
    ----------
    rows : DataFrame with at least the columns `COLUMNS`.
    card : the conditions they were made under.
    """

    rows: pd.DataFrame
    card: Card

    def __len__(self) -> int:
        return len(self.rows)

    def select(
        self, space: str | None = None, *, batch: int | None = None, precision: str | None = None
    ) -> pd.DataFrame:
        """The rows of one space (by its name), batch and precision; None takes all."""
        keep = np.ones(len(self.rows), dtype=bool)
        for column, value in (("space", space), ("batch", batch), ("precision", precision)):
            if value is not None:
                keep &= (self.rows[column] == value).to_numpy()
        return self.rows[keep].reset_index(drop=True)


def card_path(csv: Path) -> Path:
    """Where the card of a table lies."""
    return csv.with_suffix(".yaml")


def read_table(csv: Path, *, find_space: FindSpace | None = None) -> LatencyTable:
    """Read and validate a latency table and its card.

    Parameters
    ----------
    csv : the table; its card is the YAML file of the same name.
    find_space : gives the space of a label; None skips what needs spaces (unknown spaces, unparsable
        architectures, one architecture written in two ways, latencies of another unit than milliseconds).

    Returns
    -------
    The table; repeated measurements of one network are merged (`merge_repeats`).

    Raises
    ------
    ValueError : anything wrong with the table or its card; one sentence with file and line.
    """
    csv = Path(csv)
    card = read_card(card_path(csv))
    return LatencyTable(read_rows(csv, find_space=find_space, card=card), card)


def read_rows(
    csv: Path, *, find_space: FindSpace | None = None, card: Card | None = None, batch: int = 1
) -> pd.DataFrame:
    """Read and validate the rows of a CSV file with the documented columns; see `read_table`.

    Only ``space``, ``architecture`` and ``latency_ms`` must be there; the others get the values of a single
    run of `batch` images at the card's precision. Other columns are kept.
    """
    card = card or Card(name="unnamed")
    return _check_rows(read_columns(csv, REQUIRED, COLUMNS, max_bytes=MAX_BYTES), csv, find_space, card, batch)


def _check_rows(
    rows: pd.DataFrame, csv: Path, find_space: FindSpace | None, card: Card, batch: int = 1
) -> pd.DataFrame:
    said = {"batch": str(batch), "precision": card.precision, "source": card.provenance}
    for column, default in {**said, "runs": "1", "resolution": "0"}.items():
        rows[column] = rows[column].where(rows[column] != "", default) if column in rows else default
    rows["latency_ms"] = numbers(csv, rows["latency_ms"], "latency_ms")
    for column in ("p10_ms", "p90_ms"):
        given = rows[column] != "" if column in rows else pd.Series(False, index=rows.index)
        rows[column] = rows["latency_ms"].where(
            ~given, numbers(csv, rows.loc[given, column], column) if given.any() else 0
        )
    if "reference_ms" in rows:
        given = rows["reference_ms"] != ""
        found = numbers(csv, rows.loc[given, "reference_ms"], "reference_ms")
        rows["reference_ms"] = found.reindex(rows.index)
    for column in ("batch", "runs"):
        rows[column] = numbers(csv, rows[column], column, whole=True)
    rows["resolution"] = numbers(csv, rows["resolution"], "resolution", whole=True, least=0)
    refuse(
        csv, ~rows["precision"].isin(PRECISIONS), rows["precision"], f"is no precision; known: {', '.join(PRECISIONS)}"
    )
    refuse(csv, rows["p10_ms"] > rows["p90_ms"], rows["p10_ms"], "as p10_ms is above p90_ms")
    work = None if find_space is None else _resolve_architectures(csv, rows, find_space)
    check_plausible(csv, rows, work, card)
    ordered = [*COLUMNS, *(column for column in rows if column not in COLUMNS)]
    return merge_repeats(rows[ordered], csv)


def write_table(csv: Path, table: LatencyTable) -> None:
    """Write a table and its card, each atomically; the card first, as a table without its card means little.

    Raises
    ------
    ValueError : rows that the reader would refuse; nothing is written.
    """
    csv, rows = Path(csv), table.rows.copy()
    for column in [name for name in rows if rows[name].dtype.kind == "f"]:
        rows[column] = rows[column].map(lambda value: "" if np.isnan(value) else f"{value:.6g}")
    text = rows.to_csv(index=False, lineterminator="\n")
    _check_rows(parse_columns(text, csv, REQUIRED, COLUMNS), csv, None, table.card)
    write_card(card_path(csv), table.card)
    write_text(csv, text)


def merge_repeats(rows: pd.DataFrame, csv: Path | None = None) -> pd.DataFrame:
    """One row for each network: repeated measurements become their mean, weighted by runs.

    The interval p10 to p90 widens to hold all of them, the runs add up.

    Raises
    ------
    ValueError : two measurements of one network are further apart than `DISAGREEMENT`.
    """
    repeated = rows.duplicated(list(KEY), keep=False)
    if not repeated.any():
        return rows.reset_index(drop=True)
    # Positions instead of the index, which holds line numbers when the rows come from a file.
    lines = rows.index.to_numpy()
    rows = rows.reset_index(drop=True)
    merged = rows.drop_duplicates(list(KEY)).copy()
    for _, group in rows[repeated.to_numpy()].groupby(list(KEY), sort=False):
        latency, runs = group["latency_ms"].to_numpy(), group["runs"].to_numpy()
        if latency.max() > latency.min() * (1 + DISAGREEMENT):
            first, second = sorted(lines[group.index[i]] for i in (int(latency.argmin()), int(latency.argmax())))
            raise ValueError(
                f"{csv or 'the table'}: lines {first} and {second} measure the same network and disagree "
                f"({latency.min():g} and {latency.max():g} ms); keep the right one"
            )
        row = int(group.index[0])
        merged.loc[row, "latency_ms"] = np.average(latency, weights=runs)
        merged.loc[row, "p10_ms"] = group["p10_ms"].min()
        merged.loc[row, "p90_ms"] = group["p90_ms"].max()
        merged.loc[row, "runs"] = runs.sum()
    return merged.reset_index(drop=True)


def _resolve_architectures(csv: Path, rows: pd.DataFrame, find_space: FindSpace) -> Work:
    """Rewrite architectures in their canonical form; what each row computes."""
    macs = pd.Series(0.0, index=rows.index)
    layers = pd.Series(np.nan, index=rows.index)
    for label, group in rows.groupby("space", sort=False):
        try:
            space = find_space(str(label))
        except ValueError as error:
            raise ValueError(f"{csv}, line {group.index[0]}: {error}") from error
        genotypes = [_parse(csv, line, space, text) for line, text in group["architecture"].items()]
        population = np.stack(genotypes)
        rows.loc[group.index, "architecture"] = _format(space, population)
        given = rows.loc[group.index, "resolution"]
        wrong = (given > 0) & (given != np.asarray(space.resolution(population)))
        refuse(csv, wrong, given, "in resolution is not the one that the architecture has")
        macs.loc[group.index] = np.asarray(space.costs(population).macs, dtype=float)
        for i in np.linspace(0, len(group) - 1, min(len(group), WORK_SAMPLE)).astype(int):
            slots = space.layers(population[i])
            layers.loc[group.index[i]] = sum(layer.macs > 0 for slot in slots for layer in slot)
    return Work(macs, layers)


def _parse(csv: Path, line: Any, space: Space, text: str) -> Any:
    try:
        return space.parse(text)
    except ValueError as error:
        raise ValueError(f"{csv}, line {line}: {shown(str(error), 300)}") from error


def _format(space: Space, population: Any) -> Sequence[str]:
    names: Sequence[str] = space.format(population)
    return names
