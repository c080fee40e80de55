"""A given network becomes a search space: its max net is that network, weights included.

`torch.export` gives a flat graph of operators; `nas.tracing.graph` makes layer specs of it, `nas.tracing.slots` cuts
these into slots where a single tensor crosses, `nas.tracing.genes` finds what can shrink.
"""

from nas.tracing.adopt import Adopted, adopt
from nas.tracing.model import Model, load_model
from nas.tracing.start import Start, start_from
from nas.tracing.weights import load_weights

__all__ = ["Adopted", "Model", "Start", "adopt", "load_model", "load_weights", "start_from"]
