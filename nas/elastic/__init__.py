"""Layers whose active slice is a smaller layer: torch layers that narrow to a layer spec, reset, and extract.

A smaller layer keeps of the biggest one its first output channels and its first input channels (or, where it
reads several tensors one behind the other, the first of each), and the centre of its kernel.
"""

from nas.elastic.batch_norm import ElasticBatchNorm2d, active_slices, plain_batch_norm
from nas.elastic.branches import Branches, ElasticBranches
from nas.elastic.conv import ElasticConv2d, even_padding, padded, plain_conv
from nas.elastic.linear import ElasticLinear, plain_linear
from nas.elastic.per_channel import ChannelNorm, ChannelScale, ElasticChannelNorm, ElasticChannelScale

__all__ = [
    "Branches",
    "ChannelNorm",
    "ChannelScale",
    "ElasticBatchNorm2d",
    "ElasticBranches",
    "ElasticChannelNorm",
    "ElasticChannelScale",
    "ElasticConv2d",
    "ElasticLinear",
    "active_slices",
    "even_padding",
    "padded",
    "plain_batch_norm",
    "plain_conv",
    "plain_linear",
]
