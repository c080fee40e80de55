"""Layers whose active slice is a smaller layer: torch layers that narrow to a layer spec, reset, and extract.

Every smaller layer is a prefix of the biggest one: its first output channels, its first input channels,
the centre of its kernel.
"""

from nas.elastic.batch_norm import ElasticBatchNorm2d, plain_batch_norm
from nas.elastic.conv import ElasticConv2d, plain_conv
from nas.elastic.linear import ElasticLinear, plain_linear

__all__ = [
    "ElasticBatchNorm2d",
    "ElasticConv2d",
    "ElasticLinear",
    "plain_batch_norm",
    "plain_conv",
    "plain_linear",
]
