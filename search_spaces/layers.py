"""Layer specs: what one variant of a slot is made of.

A slot's network is a short list of `LayerSpec`; each names the earlier layers it reads (``""`` is the
slot's input), so a residual block, a squeeze-excite gate and a cell are all written the same way. This
list is the single source of the paper costs (`search_spaces.costs`), of the PyTorch network and of the
tables in reports. Sizes are pixels of a square feature map; channel numbers count feature maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["conv", "linear", "global_pool", "avg_pool", "add", "mul", "shuffle", "identity", "zero"]
Activation = Literal["none", "relu", "relu6", "hard_swish", "hard_sigmoid"]

SLOT_INPUT = ""


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a channel number to a multiple of `divisor`, never more than 10 % below `value`.

    The rule of the MobileNet family: hardware likes multiples of eight, and rounding down by more than a
    tenth would cost accuracy, so in that case it rounds up.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def downsampled(size: int, strides: Sequence[int]) -> int:
    """Side of a feature map of `size` pixels after layers with these strides."""
    for stride in strides:
        size = -(-size // stride)
    return size


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer: an operator, the normalisation behind it and its activation.

    Padding is always ``(kernel - 1) // 2``, so a stride of `s` maps size `n` to ``ceil(n / s)`` (an even kernel
    wants sizes that its stride divides).

    Attributes
    ----------
    name : the layer's name, unique inside its slot.
    kind : the operator. ``conv`` covers depthwise (``groups == in_channels``); ``add`` and ``mul`` join two
        inputs, the second of which may be ``1 x 1`` and is then broadcast; ``avg_pool`` leaves the padding out
        of its means; ``shuffle`` reads channels (groups, rest) and writes them (rest, groups); ``identity``
        holds a norm or an activation that stands alone; ``zero`` is a tensor of zeros in the input's shape.
    in_channels, out_channels : channels of the (first) input and of the output.
    size : side of the (first) input in pixels.
    kernel, stride, groups : as in a convolution, as far as the kind has them; otherwise 1.
    activation : applied last; counts as done in place.
    norm : followed by a batch-norm (two parameters a channel; folded away at deployment).
    bias : the operator has a bias of its own.
    inputs : names of the layers read, ``""`` for the slot's input.
    """

    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    size: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activation: Activation = "none"
    norm: bool = False
    bias: bool = False
    inputs: tuple[str, ...] = (SLOT_INPUT,)

    @property
    def out_size(self) -> int:
        """Side of the output in pixels."""
        if self.kind in ("global_pool", "linear"):
            return 1
        return -(-self.size // self.stride)

    @property
    def is_depthwise(self) -> bool:
        """One filter for each channel."""
        return self.kind == "conv" and self.groups == self.in_channels == self.out_channels > 1

    @property
    def weight_count(self) -> int:
        """Elements of the operator's weight tensor."""
        if self.kind not in ("conv", "linear"):
            return 0
        return self.out_channels * (self.in_channels // self.groups) * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; element-wise layers and pooling count as free."""
        return self.weight_count * self.out_size**2

    @property
    def params(self) -> int:
        """Trainable parameters: weights, bias, and two for each channel of a batch-norm."""
        return self.weight_count + self.out_channels * (int(self.bias) + 2 * int(self.norm))

    def weight_bytes(self, bytes_per_weight: int = 4) -> int:
        """Bytes of the deployed weights: batch-norm folded, so one 4-byte bias a channel; two where it stands alone."""
        vectors = 2 if self.norm and self.kind == "identity" else int(self.norm or self.bias)
        return self.weight_count * bytes_per_weight + 4 * vectors * self.out_channels

    @property
    def input_elements(self) -> int:
        """Elements of the (first) input of one image."""
        return self.in_channels * self.size**2

    @property
    def output_elements(self) -> int:
        """Elements of the output of one image."""
        return self.out_channels * self.out_size**2


def peak_activation_elements(layers: Sequence[LayerSpec]) -> int:
    """Most activation elements alive at once while `layers` run in order on one image.

    A tensor lives from the layer that writes it to the last layer that reads it; the slot's input lives
    from the start and its output to the end. This is the liveness scan that inference runtimes for
    microcontrollers plan their arena with.
    """
    if not layers:
        return 0
    last_read = {SLOT_INPUT: 0}
    for step, layer in enumerate(layers):
        last_read[layer.name] = step
        for name in layer.inputs:
            last_read[name] = step
    last_read[layers[-1].name] = len(layers)
    freed_after = [0] * (len(layers) + 1)
    freed_after[last_read[SLOT_INPUT]] += layers[0].input_elements
    alive, peak = layers[0].input_elements, 0
    for step, layer in enumerate(layers):
        elements = layer.output_elements
        freed_after[last_read[layer.name]] += elements
        alive += elements
        peak = max(peak, alive)
        alive -= freed_after[step]
    return peak
