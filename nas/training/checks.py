"""Checks of the values that settings are given: each refuses with one sentence. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any


def check_fields(settings_class: Any, settings: Mapping[str, Any], where: str) -> None:
    """Refuse `settings` that name a field which the dataclass does not have, or leave out one that it needs.

    Raises
    ------
    ValueError : they do; `where` says of what.
    """
    known = [f.name for f in fields(settings_class) if f.init]
    if unknown := [key for key in settings if key not in known]:
        raise ValueError(f"{where} has no field {unknown[0]!r}; allowed: {', '.join(known) or 'none'}")
    required = [f.name for f in fields(settings_class) if f.default is MISSING and f.default_factory is MISSING]
    if missing := [key for key in required if key not in settings]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")


def check_choice(where: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a `value` that is none of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{where}: {name} must be one of {', '.join(allowed)}, got {value!r}")


def check_boolean(where: str, name: str, value: object) -> None:
    """Refuse a `value` that is not true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{where}: {name} must be true or false, got {value!r}")


def check_number(
    where: str,
    name: str,
    value: object,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
    most: float | None = None,
    integer: bool = False,
) -> None:
    """Refuse a `value` that is no (whole) number within the bounds, which ``inf`` and ``nan`` never are."""
    bounds = {"at least": least, "above": above, "below": below, "at most": most}
    rule = " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)
    if (
        isinstance(value, bool)
        or not isinstance(value, int if integer else (int, float))
        or not abs(value) < float("inf")
        or (least is not None and not value >= least)
        or (above is not None and not value > above)
        or (below is not None and not value < below)
        or (most is not None and not value <= most)
    ):
        # YAML reads 1e-4 as text, 1.0e-4 as a number.
        hint = " (write 1.0e-4, not 1e-4)" if isinstance(value, str) and "e" in value.lower() else ""
        kind = "a whole number" if integer else "a number"
        raise ValueError(f"{where}: {name} must be {kind} {rule}, got {value!r}{hint}")


def check_range(where: str, name: str, value: object, *, above: float, most: float) -> None:
    """Refuse a `value` that is not two numbers, the smaller one first, within the bounds."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"{where}: {name} must be two numbers, the smaller one first, got {value!r}")
    for number in value:
        check_number(where, name, number, above=above, most=most)
    if value[0] > value[1]:
        raise ValueError(f"{where}: {name} must have the smaller number first, got {value[0]:g} and {value[1]:g}")
