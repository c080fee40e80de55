"""What the answer of a search is compared with: known before the search, which says how long that will take."""

from collections.abc import Sequence

from nas.devices import Device
from nas.pipeline.at_hand import AUTO, MOST, baseline_names
from nas.pipeline.photographs import reads_photographs
from search_spaces import SearchSpace
from search_spaces.traced import TracedSpace

GIVEN_NETWORK = "given network"


def compared_with(asked: str, space: SearchSpace, given: bool) -> list[str]:
    """Names of the networks that an answer is compared with.

    Where none are named: the given network where it takes several resolutions, and those at hand where networks read
    photographs.

    Parameters
    ----------
    asked : see `baseline_names`.
    space : of the networks that are searched.
    given : whether the network that the supernet was made of is kept as it came.
    """
    names = baseline_names(asked)
    if asked != AUTO:
        return names
    column = space.resolution_column
    takes_several = isinstance(space, TracedSpace) and column is not None and space.n_choices[column] > 1
    own = [GIVEN_NETWORK] if given and takes_several else []
    return own + (names[: MOST - len(own)] if reads_photographs(space) else [])


def can_be_compared(devices: Sequence[Device], latency_counts: bool) -> bool:
    """Whether a network for these devices is compared: on one alone, that is measured where latency is limited."""
    return len(devices) == 1 and (devices[0].can_measure or not latency_counts)
