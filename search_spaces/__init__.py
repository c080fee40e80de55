"""What can be built, and what it costs on paper (NumPy only)."""

from search_spaces.costs import Costs
from search_spaces.genes import Gene, Slot
from search_spaces.layers import LayerSpec, make_divisible
from search_spaces.registry import SPACES, get_space, purpose
from search_spaces.space import Population, SearchSpace
from search_spaces.tables import SlotTable

__all__ = [
    "SPACES",
    "Costs",
    "Gene",
    "LayerSpec",
    "Population",
    "SearchSpace",
    "Slot",
    "SlotTable",
    "get_space",
    "make_divisible",
    "purpose",
]
