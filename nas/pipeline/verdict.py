"""Which is the better choice: the chosen network, or one that a user would have taken otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.training.duration import show_duration


@dataclass(frozen=True)
class Judged:
    """A baseline, fine-tuned and measured.

    Attributes
    ----------
    name : of the network.
    resolution : in pixels.
    macs, params : of one image.
    accuracy, test_accuracy, test_error : fractions, as of the chosen network; the last is a standard error.
    latency_ms, p10_ms, p90_ms : in the session that also measured the chosen network; None where none could be.
    keeps_budget : whether it does, as measured where it was.
    seconds : of its fine-tuning.
    difference_error, test_difference_error : standard errors of how much its accuracies differ from those of the chosen
        network on the same images; see `paired_error`.
    """

    name: str
    resolution: int
    macs: int
    params: int
    accuracy: float
    test_accuracy: float
    test_error: float
    latency_ms: float | None
    p10_ms: float | None
    p90_ms: float | None
    keeps_budget: bool
    seconds: float
    difference_error: float
    test_difference_error: float

    @property
    def title(self) -> str:
        """As it is called in sentences."""
        return f"{self.name} at {self.resolution} px"


def best_of(judged: Sequence[Judged], latency_ms: float | None, exponent: float = 0.0) -> tuple[Judged | None, float]:
    """The best of those that keep the budget, None where none does, and its accuracy as it counts.

    Parameters
    ----------
    latency_ms : of the chosen network, in the same session.
    exponent : of the latency in what a network is worth (see `nas.search.objectives.EXPONENTS`): the accuracy of the
        others is multiplied by ``(their latency / latency_ms) ** exponent``.
    """

    def counted(other: Judged) -> float:
        if not exponent or other.latency_ms is None or latency_ms is None:
            return other.accuracy
        return float(other.accuracy * (other.latency_ms / latency_ms) ** exponent)

    best = max((b for b in judged if b.keeps_budget), key=counted, default=None)
    return best, 0.0 if best is None else counted(best)


def verdict(
    chosen: Mapping[str, Any], latency_ms: float | None, judged: Sequence[Judged], exponent: float = 0.0
) -> str:
    """A sentence: which network is the better choice, by how much, and how sure that is.

    Parameters
    ----------
    chosen : ``accuracy``, ``test_accuracy`` and ``seconds`` of training of the chosen network.
    latency_ms : its latency, in the session that measured the others.
    judged, exponent : those that it is compared with; see `best_of`.
    """
    best, counts = best_of(judged, latency_ms, exponent)
    if best is None:
        return "No baseline keeps the budget."
    points, error = 100 * (chosen["accuracy"] - counts), 100 * best.difference_error
    on_test = 100 * (chosen["test_accuracy"] - best.test_accuracy)
    facts = [
        f"test {chosen['test_accuracy']:.1%} against {best.test_accuracy:.1%}, {on_test:+.1f} ± "
        f"{100 * best.test_difference_error:.1f}",
    ]
    if best.latency_ms is not None and latency_ms is not None:
        facts.append(f"{latency_ms:.3g} against {best.latency_ms:.3g} ms")
    facts.append(
        f"fine-tuned for {show_duration(best.seconds)}, this one trained for {show_duration(chosen['seconds'])}"
    )
    if exponent:
        facts.append(f"accuracies count times (latency / limit)^{exponent:g}")
    exported = " It is exported as well." if points < 0 else ""
    chose = "search-validation (the images that chose the network)"
    if abs(points) < 2 * error:
        said = f"No clear difference from a plain {best.title}: {points:+.1f} ± {error:.1f} points on {chose}"
    elif points < 0:
        said = f"A plain {best.title} is better here by {-points:.1f} ± {error:.1f} points on search-validation"
    else:
        said = f"{points:.1f} ± {error:.1f} points better than a plain {best.title} on {chose}"
    return f"{said}; {'; '.join(facts)}.{exported}"
