"""How thorough a strategy searches."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvolutionSettings:
    """How a search uses its evaluations; a strategy that has no use for a setting leaves it out.

    Attributes
    ----------
    evaluations : networks evaluated at most.
    parents : networks that survive a generation.
    children : networks that a generation makes or improves further.
    candidates_per_child : networks made for each child, of which an additive model chooses the most promising.
    changes : genes that a mutation redraws, on average.
    patience : generations without a better network before the search restarts.
    """

    evaluations: int = 20_000
    parents: int = 60
    children: int = 180
    candidates_per_child: int = 3
    changes: float = 2.0
    patience: int = 40

    def __post_init__(self) -> None:
        for name in ("evaluations", "parents", "children", "candidates_per_child", "changes", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"search setting {name} must be positive, got {getattr(self, name)}")


DEFAULT_SETTINGS = EvolutionSettings()
