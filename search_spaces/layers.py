"""Layer specs: what one variant of a slot is made of.

A slot's network is a short list of `LayerSpec`; each names the earlier layers it reads (``""`` is the
slot's input), so a residual block, a squeeze-excite gate and a cell are all written the same way. This
list is the single source of the paper costs (`search_spaces.costs`), of the PyTorch network and of the
tables in reports. Sizes are pixels of a square feature map; channel numbers count feature maps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "conv",
    "linear",
    "global_pool",
    "avg_pool",
    "max_pool",
    "add",
    "mul",
    "concat",
    "slice",
    "shuffle",
    "upsample",
    "pad",
    "layer_norm",
    "scale",
    "attention",
    "identity",
    "flatten",
    "zero",
]
Activation = Literal["none", "relu", "relu6", "hard_swish", "hard_sigmoid", "sigmoid", "silu", "gelu"]
Ranges = tuple[tuple[int, int], ...]

SLOT_INPUT = ""
WEIGHTED = ("conv", "linear")
"""Kinds that multiply by a matrix; a batch-norm behind them goes into it at deployment."""
JOINING = ("add", "mul", "concat")
"""Kinds that read several tensors."""
WINDOWED = ("conv", "avg_pool", "max_pool")
"""Kinds that move a window over the feature map."""


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

    Padding is ``(kernel - 1) // 2`` where `padding` does not say otherwise, so a stride of `s` maps size `n` to
    ``ceil(n / s)`` (an even kernel wants sizes that its stride divides).

    Attributes
    ----------
    name : the layer's name, unique inside its slot.
    kind : the operator. ``conv`` covers depthwise (``groups == in_channels``); ``add`` and ``mul`` join two
        inputs, the second of which may be ``1 x 1`` and is then broadcast; ``concat`` puts the channels of any
        number of inputs one behind the other; ``slice`` takes `out_channels` of them from channel `start` on;
        ``avg_pool`` leaves the padding out of its means; ``shuffle`` reads channels (groups, rest) and writes them
        (rest, groups); ``upsample`` repeats the nearest pixels up to the side `target`; ``pad`` puts zeros around;
        ``layer_norm`` normalises the channels of each pixel; ``scale`` multiplies each channel by a weight of its
        own, and adds its bias; ``attention`` is that of several heads over all pixels, with one head of keys and values
        for all of them (multi-query, https://arxiv.org/abs/1911.02150): it reads queries (groups, channels of a head),
        keys and values, whose maps are `stride` times smaller, and writes (groups, channels of a value);
        ``identity`` holds a norm or an activation that stands alone; ``flatten`` makes
        logits ``(B, C)`` of a pooled feature map; ``zero`` is a tensor of zeros in the input's shape.
    in_channels, out_channels : channels of the (first) input and of the output.
    size : side of the (first) input in pixels.
    kernel, stride, groups : as in a convolution, as far as the kind has them; otherwise 1. The groups of an
        ``attention`` are its heads.
    activation : applied last; counts as done in place.
    norm : followed by a batch-norm (two parameters a channel; folded away at deployment).
    bias : the operator has a bias of its own.
    inputs : names of the layers read, ``""`` for the slot's input.
    kernel_width : of a window that is not square; `kernel` is then its height. 0 for a square one.
    padding : pixels added on the top, bottom, left and right, where it is not ``(kernel - 1) // 2`` all round.
    dilation : pixels from one window element to the next.
    ceil_mode : a pooling's last window may reach over the edge.
    epsilon : of the batch-norm or layer-norm.
    start : first channel that a ``slice`` takes.
    target : side in pixels of what an ``upsample`` writes.
    frozen : the numbers of a ``scale`` are constants, not parameters.
    reads, writes : which input and output channels of the widest layer of this name it keeps, as ranges
        ``(first, last + 1)``; empty for the first ones.
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
    kernel_width: int = 0
    padding: tuple[int, int, int, int] | None = None
    dilation: int = 1
    ceil_mode: bool = False
    epsilon: float = 1e-5
    start: int = 0
    target: int = 0
    frozen: bool = False
    reads: Ranges = ()
    writes: Ranges = ()

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the window."""
        return self.kernel, self.kernel_width or self.kernel

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Pixels added on the top, bottom, left and right, with those under a window that reaches over the edge."""
        top, bottom, left, right = self.padding or tuple((side - 1) // 2 for side in self.window for _ in range(2))
        if self.ceil_mode:
            covered = (self.out_size - 1) * self.stride + self.dilation * (self.kernel - 1) + 1
            bottom, right = (max(end, covered - self.size - begin) for begin, end in ((top, bottom), (left, right)))
        return top, bottom, left, right

    @property
    def out_size(self) -> int:
        """Side of the output in pixels."""
        if self.kind in ("global_pool", "linear", "flatten"):
            return 1
        if self.kind == "upsample":
            return self.target
        if self.kind == "attention":
            return self.size
        if self.padding is None and self.dilation == 1 and not self.ceil_mode:
            return -(-self.size // self.stride)
        top, bottom, *_ = self.padding or 4 * ((self.kernel - 1) // 2,)
        if self.kind == "pad":
            return self.size + top + bottom
        room = self.size + top + bottom - self.dilation * (self.kernel - 1) - 1
        if not self.ceil_mode:
            return room // self.stride + 1
        windows = -(-room // self.stride) + 1
        # A window that begins in the padding at the end is left out.
        return windows - ((windows - 1) * self.stride >= self.size + top)

    @property
    def is_depthwise(self) -> bool:
        """One filter for each channel."""
        return self.kind == "conv" and self.groups == self.in_channels == self.out_channels > 1

    @property
    def weight_count(self) -> int:
        """Elements of the operator's weight tensor."""
        if self.kind not in WEIGHTED:
            return 0
        height, width = self.window
        return self.out_channels * (self.in_channels // self.groups) * height * width

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image; element-wise layers, pooling and softmax count as free."""
        if self.kind == "attention":
            return self.size**2 * self.n_keys * (self.in_channels + self.out_channels)
        return self.weight_count * self.out_size**2

    @property
    def n_keys(self) -> int:
        """Pixels that each pixel of an ``attention`` looks at."""
        return downsampled(self.size, [self.stride]) ** 2

    @property
    def score_elements(self) -> int:
        """Elements of the scores of an ``attention``: one for each head, pixel and key."""
        return self.groups * self.size**2 * self.n_keys

    @property
    def params(self) -> int:
        """Trainable parameters: weights, bias, and two for each channel of a batch-norm or layer-norm."""
        own = 0 if self.frozen else int(self.bias) + int(self.kind == "scale") + 2 * int(self.kind == "layer_norm")
        return self.weight_count + self.out_channels * (own + 2 * int(self.norm))

    def weight_bytes(self, bytes_per_weight: int = 4) -> int:
        """Bytes of the deployed weights: batch-norm folded, so one 4-byte bias a channel; two where it stands alone."""
        if self.kind in WEIGHTED:
            vectors = int(self.norm or self.bias)
        else:
            vectors = 2 * int(self.norm) + 2 * int(self.kind == "layer_norm") + int(self.kind == "scale") + self.bias
        return self.weight_count * bytes_per_weight + 4 * vectors * self.out_channels

    @property
    def input_elements(self) -> int:
        """Elements of the (first) input of one image."""
        return self.in_channels * self.size**2

    @property
    def read_elements(self) -> int:
        """Elements of all inputs of one image, broadcast where they are; of an ``attention`` with its scores, twice."""
        if self.kind == "attention":
            keys_and_values = self.n_keys * (self.in_channels + self.out_channels) // self.groups
            return self.input_elements + keys_and_values + 2 * self.score_elements
        return self.output_elements if self.kind == "concat" else self.input_elements * len(self.inputs)

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
    steps = [step for layer in layers for step in _steps(layer)]
    last_read = {SLOT_INPUT: 0}
    for number, (written, read, _) in enumerate(steps):
        last_read[written] = number
        for name in read:
            last_read[name] = number
    last_read[layers[-1].name] = len(steps)
    freed_after = [0] * (len(steps) + 1)
    freed_after[last_read[SLOT_INPUT]] += layers[0].input_elements
    alive, peak = layers[0].input_elements, 0
    for number, (written, _, elements) in enumerate(steps):
        freed_after[last_read[written]] += elements
        alive += elements
        peak = max(peak, alive)
        alive -= freed_after[number]
    return peak


def _steps(layer: LayerSpec) -> list[tuple[str, tuple[str, ...], int]]:
    """What a layer does one after another: the tensor written, those read, and elements written."""
    if layer.kind != "attention":
        return [(layer.name, layer.inputs, layer.output_elements)]
    query, keys, values = layer.inputs
    scores, shares = f"{layer.name}/scores", f"{layer.name}/shares"
    return [
        (scores, (query, keys), layer.score_elements),
        (shares, (scores,), layer.score_elements),
        (layer.name, (shares, values), layer.output_elements),
    ]
