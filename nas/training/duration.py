"""Lengths of time as typed and as shown. Seconds in between."""

import re

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PARTS = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:s|min|h|d)\s*)+")


def parse_duration(text: str) -> float:
    """Seconds of a length of time such as ``90s``, ``20min``, ``1.5h`` or ``1h 30min``.

    Raises
    ------
    ValueError : it has no unit, or is not above 0.
    """
    typed = str(text).strip()
    seconds = 0.0
    if _PARTS.fullmatch(typed):
        seconds = sum(float(n) * UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)", typed))
    if not 0 < seconds < 1e9:
        bare = re.fullmatch(r"\d+(\.\d+)?", typed)
        hint = f"{typed}min" if bare and float(typed) > 0 else "20min"
        raise ValueError(
            f"a length of time needs a number above 0 and a unit ({', '.join(UNITS)}), got {typed!r}; "
            f"type for instance {hint}"
        )
    return seconds


def parse_share(text: str) -> float | None:
    """The share that a percentage such as ``60%`` is; None where the text is none.

    Raises
    ------
    ValueError : it is not above 0, or above 1,000.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.strip())
    if found is None:
        return None
    if not 0 < float(found[1]) <= 1000:
        raise ValueError(f"a percentage of a length of time must be above 0 and at most 1000%, got {text!r}")
    return float(found[1]) / 100


def show_duration(seconds: float) -> str:
    """A length of time in its two largest units: ``45 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
