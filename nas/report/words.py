"""How figures are written: shares in percent, milliseconds, and a dash where nothing is known."""

from collections.abc import Mapping
from math import isnan, sqrt
from typing import Any

from nas.search.budget import METRIC_OF

UNKNOWN = "–"


def percent(share: Any, error: Any = None, digits: int = 2) -> str:
    """``84.21 %``, or ``84.21 ± 1.82 %`` with a standard deviation or error."""
    if share is None or isnan(share):
        return UNKNOWN
    if error is None or isnan(error):
        return f"{100 * share:.{digits}f} %"
    return f"{100 * share:.{digits}f} ± {100 * error:.{digits}f} %"


def milliseconds(value: Any, std: Any = None) -> str:
    """``0.371 ms``, or ``0.371 ± 0.02 ms`` with a standard deviation."""
    if value is None or isnan(value):
        return UNKNOWN
    return f"{value:.3g} ms" if std is None or isnan(std) else f"{value:.3g} ± {std:.2g} ms"


def limit_amount(budget: Mapping[str, Any]) -> str:
    """A limit in the unit of its metric, and as a throughput where that was typed; `budget` as in result.json."""
    typed = budget.get("throughput")
    return METRIC_OF[budget["key"]].format(budget["limit"]) + ("" if typed is None else f" (throughput {typed})")


def probability(chance: float) -> str:
    """``97%``; never that something is sure, or cannot be."""
    if 0.01 <= chance <= 0.99:
        return f"{chance:.0%}"
    return "less than 1%" if chance < 0.5 else "more than 99%"


def accuracy_name(record: Mapping[str, Any]) -> str:
    """What accuracies are: ``accuracy`` or ``balanced accuracy``."""
    return str(record.get("objective", "accuracy")).replace("_", " ")


def accuracy_on_test(record: Mapping[str, Any], digits: int = 2, by: str = "accuracy") -> str | None:
    """The accuracy (or ``balanced_accuracy``) on the test split with its standard error; None where it is not known."""
    if (share := record.get(f"test_{by}")) is None:
        return None
    error, images = record.get(f"test_{by}_error"), record.get("test_images")
    if error is None and images and by == "accuracy":  # written by a version that did not store it
        error = sqrt(share * (1 - share) / images)
    return percent(share, error, digits)
