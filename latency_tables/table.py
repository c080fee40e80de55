"""Latency tables: measured networks of one device, as a CSV file with a card beside it.

Latencies are milliseconds for one inference of the whole batch. A reader trusts nothing: every problem is one
sentence with the file and the line. What an architecture is, only a search space knows; as this package stands
below the spaces, they are handed in (`search_spaces.get_space`).
"""

import csv as csv_module
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from latency_tables.card import Card, read_card, write_card
from latency_tables.files import write_text
from latency_tables.plausible import check_plausible

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
PRECISIONS = ("float32", "float16", "int8")
DISAGREEMENT = 0.25
"""Two measurements of the same network further apart than this are a mistake; noise is a fifth of it."""


class Space(Protocol):
    """The part of a search space that a reader needs."""

    def parse(self, text: str, /) -> Any:
        """Genotype of an architecture's string, or a ValueError."""

    def format(self, population: Any, /) -> Any:
        """The string of a genotype."""

    def costs(self, population: Any, /) -> Any:
        """Costs on paper, with an array ``macs``."""


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


def read_rows(csv: Path, *, find_space: FindSpace | None = None, card: Card | None = None) -> pd.DataFrame:
    """Read and validate the rows of a CSV file with the documented columns; see `read_table`.

    Only ``space``, ``architecture`` and ``latency_ms`` must be there; the others get the values of a single
    run of one image at the card's precision. Other columns are kept.
    """
    card = card or Card(name=csv.stem)
    text = _read_columns(csv)
    rows = text.copy()
    defaults = {"batch": "1", "precision": card.precision, "runs": "1", "source": card.provenance, "resolution": "0"}
    for column, default in defaults.items():
        rows[column] = rows[column].where(rows[column] != "", default) if column in rows else default
    rows["latency_ms"] = _numbers(csv, rows["latency_ms"], "latency_ms")
    for column in ("p10_ms", "p90_ms"):
        given = rows[column] != "" if column in rows else pd.Series(False, index=rows.index)
        rows[column] = rows["latency_ms"].where(
            ~given, _numbers(csv, rows.loc[given, column], column) if given.any() else 0
        )
    if "reference_ms" in rows:
        rows["reference_ms"] = _numbers(csv, rows["reference_ms"], "reference_ms")
    for column in ("batch", "runs"):
        rows[column] = _numbers(csv, rows[column], column, whole=True)
    rows["resolution"] = _numbers(csv, rows["resolution"], "resolution", whole=True, least=0)
    _refuse(
        csv, ~rows["precision"].isin(PRECISIONS), rows["precision"], f"is no precision; known: {', '.join(PRECISIONS)}"
    )
    _refuse(csv, rows["p10_ms"] > rows["p90_ms"], rows["p10_ms"], "as p10_ms is above p90_ms")
    macs = None if find_space is None else _resolve_architectures(csv, rows, find_space)
    check_plausible(csv, rows, macs, card)
    ordered = [*COLUMNS, *(column for column in rows if column not in COLUMNS)]
    return merge_repeats(rows[ordered], csv)


def write_table(csv: Path, table: LatencyTable) -> None:
    """Write a table and its card, each atomically."""
    rows = table.rows.copy()
    for column in [name for name in rows if rows[name].dtype.kind == "f"]:
        rows[column] = rows[column].map(lambda value: f"{value:.6g}")
    write_text(Path(csv), rows.to_csv(index=False, lineterminator="\n"))
    write_card(card_path(Path(csv)), table.card)


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


def _read_columns(csv: Path) -> pd.DataFrame:
    """The file as text, indexed by line number, blank lines left out."""
    try:
        content = csv.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ValueError(f"there is no latency table {csv}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{csv} is not UTF-8 text (byte {error.start}); save it as UTF-8 CSV") from error
    if "\0" in content:
        raise ValueError(f"{csv} is not UTF-8 text (it contains zero bytes); save it as UTF-8 CSV")
    if not content.strip():
        raise ValueError(f"{csv} is empty")
    reader = csv_module.reader(io.StringIO(content), strict=True)
    lines, records = [], []
    try:
        header = [column.strip() for column in next(reader)]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise ValueError(f"{csv}, line {reader.line_num}: {len(cells)} cells where line 1 has {len(header)}")
            lines.append(reader.line_num)
            records.append([cell.strip() for cell in cells])
    except csv_module.Error as error:
        raise ValueError(f"{csv}, line {reader.line_num}: {error}") from error
    rows = pd.DataFrame(records, columns=header, index=lines, dtype=object)
    twice = rows.columns[rows.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{csv}, line 1: two columns are called {twice[0]}")
    missing = [column for column in REQUIRED if column not in rows]
    if missing:
        raise ValueError(
            f"{csv}, line 1: no column {', '.join(missing)}; the columns are {', '.join(COLUMNS)}, separated by commas"
        )
    if rows.empty:
        raise ValueError(f"{csv} has no rows")
    return rows


def _refuse(csv: Path, wrong: "pd.Series[bool]", shown: "pd.Series[Any]", reason: str) -> None:
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ValueError(f"{csv}, line {wrong.index[row]}: {shown.iloc[row]!r} {reason}")


def _numbers(
    csv: Path, text: "pd.Series[str]", column: str, *, whole: bool = False, least: float = 1
) -> "pd.Series[Any]":
    """The column as numbers: positive and finite, or whole and at least `least`."""
    numbers = pd.to_numeric(text, errors="coerce").astype(float)
    if whole:
        _refuse(
            csv, ~(numbers >= least) | (numbers % 1 != 0), text, f"in {column} is not a whole number from {least:g} on"
        )
        return numbers.astype(int)
    _refuse(csv, ~((numbers > 0) & (numbers < np.inf)), text, f"in {column} is not a positive, finite number")
    return numbers


def _resolve_architectures(csv: Path, rows: pd.DataFrame, find_space: FindSpace) -> "pd.Series[float]":
    """Rewrite architectures in their canonical form; MACs of every row."""
    macs = pd.Series(0.0, index=rows.index)
    for label, group in rows.groupby("space", sort=False):
        try:
            space = find_space(str(label))
        except ValueError as error:
            raise ValueError(f"{csv}, line {group.index[0]}: {error}") from error
        genotypes = [_parse(csv, line, space, text) for line, text in group["architecture"].items()]
        population = np.stack(genotypes)
        rows.loc[group.index, "architecture"] = _format(space, population)
        macs.loc[group.index] = np.asarray(space.costs(population).macs, dtype=float)
    return macs


def _parse(csv: Path, line: Any, space: Space, text: str) -> Any:
    try:
        return space.parse(text)
    except ValueError as error:
        raise ValueError(f"{csv}, line {line}: {error}") from error


def _format(space: Space, population: Any) -> Sequence[str]:
    names: Sequence[str] = space.format(population)
    return names
