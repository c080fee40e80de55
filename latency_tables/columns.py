"""The cells of a CSV file as text by column, and columns as numbers. Every problem is one sentence with file and line.

Spreadsheets write what their country writes: besides commas, semicolons and tabs separate cells, and where it is
not the comma that does, it may stand for the decimal point.
"""

import csv as csv_module
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from latency_tables.files import read_text, shown

SEPARATORS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")  # Excel's first line, which says the separator
_DECIMAL_COMMA = r"^([+-]?\d+),(\d+(?:[eE][+-]?\d+)?)$"


def read_columns(csv: Path, required: Sequence[str], known: Sequence[str], *, max_bytes: int) -> pd.DataFrame:
    """The cells of a CSV file as text, indexed by line number; blank lines are left out.

    Parameters
    ----------
    required : columns that must be there.
    known : all columns that the product knows, for the message where one is missing.
    max_bytes : the largest file that is read.

    Raises
    ------
    ValueError : anything that keeps it from being read.
    """
    if not csv.exists():
        raise ValueError(f"there is no latency table {csv}")
    return parse_columns(read_text(csv, max_bytes=max_bytes), csv, required, known)


def parse_columns(content: str, csv: Path, required: Sequence[str], known: Sequence[str]) -> pd.DataFrame:
    """As `read_columns`, from the content of the file `csv`."""
    content = content.removeprefix("\ufeff")
    if "\0" in content:
        raise ValueError(f"{csv} is not UTF-8 text (it contains zero bytes); save it as UTF-8 CSV")
    if not content.strip():
        raise ValueError(f"{csv} is empty")
    stated = _SEPARATOR_LINE.match(content)
    start = stated.end() if stated else 0
    first_line = content[start:].partition("\n")[0]
    separator = stated[1] if stated else max(SEPARATORS, key=first_line.count)
    reader = csv_module.reader(io.StringIO(content[start:]), delimiter=separator, strict=True)
    lines, records = [], []
    try:
        header = [column.strip() for column in next(reader)]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            line = reader.line_num + bool(stated)
            if len(cells) != len(header):
                raise ValueError(f"{csv}, line {line}: {len(cells)} cells where line 1 has {len(header)}")
            lines.append(line)
            records.append([cell.strip() for cell in cells])
    except csv_module.Error as error:
        raise ValueError(f"{csv}, line {reader.line_num + bool(stated)}: {error}") from error
    rows = pd.DataFrame(records, columns=header, index=lines, dtype=object)
    twice = rows.columns[rows.columns.duplicated()]
    if len(twice):
        raise ValueError(f"{csv}, line 1: two columns are called {shown(twice[0])}")
    missing = [column for column in required if column not in rows]
    if missing:
        raise ValueError(
            f"{csv}, line 1: no column {', '.join(missing)}; the columns are {', '.join(known)}, separated by commas"
        )
    if rows.empty:
        raise ValueError(f"{csv} has no rows")
    if separator != ",":
        rows = rows.replace(_DECIMAL_COMMA, r"\1.\2", regex=True)
    return rows


def refuse(csv: Path, wrong: "pd.Series[bool]", cells: "pd.Series[Any]", reason: str) -> None:
    """Raise a ValueError that names the first line where `wrong` holds, and its cell."""
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        cell = cells.iloc[row]
        said = repr(shown(cell)) if isinstance(cell, str) else f"{cell:g}"
        raise ValueError(f"{csv}, line {wrong.index[row]}: {said} {reason}")


def numbers(
    csv: Path, text: "pd.Series[str]", column: str, *, whole: bool = False, least: float = 1
) -> "pd.Series[Any]":
    """The column as numbers: positive and finite, or whole and at least `least`.

    Raises
    ------
    ValueError : a cell that is something else.
    """
    found = pd.to_numeric(text, errors="coerce").astype(float)
    if whole:
        wrong = ~((found >= least) & (found < 2**31) & (found % 1 == 0))
        refuse(csv, wrong, text, f"in {column} is not a whole number from {least:g} on")
        return found.astype(int)
    refuse(csv, ~((found > 0) & (found < np.inf)), text, f"in {column} is not a positive, finite number")
    return found
