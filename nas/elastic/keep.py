"""Which part of a tensor a smaller layer keeps along one axis: its first entries, or some ranges of them."""

import torch
from torch import Tensor

from search_spaces.layers import Ranges


def keep(tensor: Tensor, axis: int, count: int, ranges: Ranges = ()) -> Tensor:
    """The first `count` entries of `axis`, or those in `ranges`; the tensor itself where that is all of them."""
    if ranges:
        return torch.cat([tensor.narrow(axis, first, end - first) for first, end in ranges], axis)
    # A view of the whole would add a node to the graph and a copy to its gradient.
    return tensor if count == tensor.shape[axis] else tensor.narrow(axis, 0, count)


def put_back(tensor: Tensor, kept: Tensor, ranges: Ranges) -> None:
    """Write what `keep` took from the first axis of `tensor` with these ranges."""
    done = 0
    for first, end in ranges:
        tensor[first:end] = kept[done : done + end - first]
        done += end - first
