"""What each ATen operator becomes: one function an operator, which writes layers and returns what the graph reads on.

Fully connected layers become convolutions (1 x 1, or as wide as the map they flatten), which compute and cost the
same, so that every tensor but the logits is a feature map.
"""

from nas.tracing.operators import elementwise, pooling, shapes, weighted
from nas.tracing.operators.registry import CONSTANT_ONLY, OPERATORS

__all__ = ["CONSTANT_ONLY", "OPERATORS", "elementwise", "pooling", "shapes", "weighted"]
