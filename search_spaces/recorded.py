"""A search space as a file describes it: the file may come from elsewhere, so its options may be anything."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latency_tables.files import shown
from search_spaces.registry import get_space
from search_spaces.space import SearchSpace

LARGEST = 10**7
"""Of any number in a description; the largest that makes sense is a number of classes or channels."""


def recorded_space(name: str, options: Mapping[str, Any], path: Path) -> SearchSpace:
    """The search space called `name` with `options`, as they stand in the file `path`.

    Raises
    ------
    ValueError : there is no such space; the sentence names the file.
    """
    _check_numbers(options, path)
    try:
        return get_space(name, **options)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    except (TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its options of space {shown(name)} describe no network") from error


def _check_numbers(value: Any, path: Path) -> None:
    """Refuse numbers that would take all memory."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _check_numbers(item, path)
    elif isinstance(value, int | float) and not abs(value) <= LARGEST:
        raise ValueError(f"{path}: {shown(value)} in the options of its space is too large")
