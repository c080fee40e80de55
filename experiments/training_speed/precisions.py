"""Float32 against bfloat16 on a CPU.

First single convolutions of EfficientNet-Lite0, differentiated: depthwise ones with a large kernel or a stride are
slower in bfloat16, all others faster. Then a whole step of that network (forward and backward) in float32, in bfloat16
throughout, and as it is trained, with those few layers in float32. The least of several rounds.
"""

from contextlib import AbstractContextManager, nullcontext
from time import process_time
from unittest.mock import patch

import pandas as pd
import torch
from torch import Tensor, nn

from nas.supernet import Subnet
from nas.supernet.layers import plain_layer
from nas.supernet.network import SlotModule
from search_spaces import LayerSpec, get_space

IMAGES = 16
SIDES = (96, 160, 224)
CONVOLUTIONS = {
    "1 x 1": LayerSpec("layer", "conv", 40, 240, 20, 1),
    "depthwise 3 x 3": LayerSpec("layer", "conv", 144, 144, 40, 3, groups=144),
    "depthwise 3 x 3, stride 2": LayerSpec("layer", "conv", 96, 96, 80, 3, stride=2, groups=96),
    "depthwise 5 x 5": LayerSpec("layer", "conv", 240, 240, 20, 5, groups=240),
    "depthwise 5 x 5, stride 2": LayerSpec("layer", "conv", 144, 144, 40, 5, stride=2, groups=144),
}


def step_ms(net: nn.Module, images: Tensor, rounds: int, bfloat16: bool, throughout: bool = False) -> float:
    """Of a forward and a backward pass, an image; `throughout` says that no layer stays in float32."""
    everywhere: AbstractContextManager[object] = nullcontext()
    if throughout:
        everywhere = patch("nas.supernet.layers.torch.is_autocast_enabled", lambda device: False)
    found = []
    with everywhere:
        for _ in range(rounds + 1):
            began = process_time()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                outputs = net(images)
            outputs.float().square().mean().backward()
            found.append(process_time() - began)
    return 1e3 * min(found[1:]) / len(images)


def precisions(rounds: int) -> pd.DataFrame:
    """Milliseconds of CPU time an image."""
    torch.manual_seed(0)
    works: list[tuple[str, nn.Module, Tensor]] = []
    for name, spec in CONVOLUTIONS.items():
        images = torch.randn(IMAGES, spec.in_channels, spec.size, spec.size, requires_grad=True)
        works.append((name, SlotModule({spec.name: plain_layer(spec)}, [spec]), images))
    for side in SIDES:
        space = get_space("efficientnet_lite0", resolutions=(side,), num_classes=10)
        works.append((f"efficientnet_lite0 at {side} px", Subnet(space, space.max), torch.randn(IMAGES, 3, side, side)))
    rows = []
    for name, net, images in works:
        net, given = net.to(memory_format=torch.channels_last), images.contiguous(memory_format=torch.channels_last)
        float32, throughout, trained = (step_ms(net, given, rounds, *way) for way in ((False,), (True, True), (True,)))
        rows.append({"what": name, "float32": float32, "bfloat16": throughout, "as trained": trained})
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows).round(3)
    return table.assign(gain=(table["float32"] / table["as trained"]).round(2))
