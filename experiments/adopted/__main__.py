"""What adopted networks offer: ``python -m experiments.adopted`` (from the repository's root).

Makes each network of torchvision and timm elastic, with random weights, at its own resolution; checks what is
promised of it; exports its max, its min and two random subnets as ONNX and TFLite, in float32 (compared with PyTorch)
and int8 (converted and run); measures the max and the min net on this machine. Writes ``results/networks.csv``;
``--networks a,b`` takes some of them, whose rows replace those of the table.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.conditions import made_on
from latency_tables.files import write_text
from nas.devices import get_device
from nas.errors import MissingExtra
from nas.export.inference import open_file
from nas.export.network_file import FORMATS, FileKind, network_file
from nas.supernet import Subnet
from nas.tracing import Adopted, adopt, load_model

RESULTS = Path(__file__).parent / "results"
TORCHVISION = (
    "mobilenet_v2 mobilenet_v3_small mobilenet_v3_large mnasnet1_0 efficientnet_b0 resnet18 resnet50 regnet_y_400mf "
    "squeezenet1_1 densenet121 shufflenet_v2_x1_0"
)
TIMM = "tf_efficientnet_lite0 mobilenetv4_conv_small repvgg_a0 mobileone_s0 ghostnetv2_100 tinynet_e convnext_atto"
NETWORKS = [f"torchvision:{name}" for name in TORCHVISION.split()] + [f"timm:{name}" for name in TIMM.split()]
PACKAGES = ("torch", "torchvision", "timm", "onnxruntime")
N_SLICED, SEED, TOLERANCE = 10, 0, 1e-3


def row(name: str, measure: bool) -> dict[str, Any]:
    """What is known of one network."""
    torch.manual_seed(SEED)
    model = load_model(name)
    begun = time.perf_counter()
    try:
        adopted = adopt(model)
    except ValueError as error:
        return {"network": name, "refused": str(error)}
    seconds = time.perf_counter() - begun
    space = adopted.space
    costs = space.costs(np.stack([space.min, space.max]))
    assert model.module is not None
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.module(torch.zeros(1, 3, model.resolution, model.resolution))
    found: dict[str, Any] = {
        "network": name,
        "seconds_to_adopt": round(seconds, 1),
        "slots": len(space.slots),
        "genes": int((space.n_choices > 1).sum()),
        "networks": f"{space.size:.1e}",
        "smallest_mmacs": round(int(costs.macs[0]) / 1e6, 1),
        "largest_mmacs": round(int(costs.macs[1]) / 1e6, 1),
        "macs_as_torch_counts": bool(costs.macs[1] == counter.get_total_flops() // 2),
        "parameters_as_given": bool(costs.params[1] == sum(p.numel() for p in model.module.parameters())),
        "resolutions": " ".join(map(str, space.resolutions)),
    }
    kinds = [gene.kind for gene in space.genes if len(gene.values) > 1]
    found |= {f"{kind}_genes": kinds.count(kind) for kind in ("expansion", "width", "depth", "kernel")}
    found["sliced_as_extracted"] = _sliced(adopted)
    found |= _files(adopted)
    if measure:
        with tempfile.TemporaryDirectory() as folder:
            table = get_device("cpu", folder=Path(folder)).measure(space, np.stack([space.min, space.max]))
        found["smallest_ms"], found["largest_ms"] = (round(float(ms), 2) for ms in table.rows["latency_ms"])
    return found


def _images(side: int) -> torch.Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(SEED))


@torch.inference_mode()
def _sliced(adopted: Adopted) -> bool:
    """Whether random subnets compute the same in the supernet and alone, to the last bit."""
    net = adopted.supernet
    same = True
    for genotype in adopted.space.sample(N_SLICED, np.random.default_rng(SEED)):
        alone = net.extract(genotype).eval()
        net.activate(genotype)
        images = _images(net.resolution)
        same &= torch.equal(net(images), alone(images))
    net.activate(adopted.space.max)
    return same


def _files(adopted: Adopted) -> dict[str, Any]:
    space = adopted.space
    genotypes = [space.max, space.min, *space.sample(2, np.random.default_rng(SEED + 1))]
    subnets = [adopted.supernet.extract(genotype).eval() for genotype in genotypes]
    found = {}
    for format_ in FORMATS:
        found[format_] = _verdict(subnets, FileKind(format_))
        found[f"{format_}_int8"] = _verdict(subnets[1:2], FileKind(format_, "int8"))
    return found


@torch.inference_mode()
def _verdict(subnets: list[Subnet], kind: FileKind) -> str:
    """``yes``, or what went wrong."""
    for subnet in subnets:
        images = _images(subnet.resolution)
        try:
            content = network_file(subnet, kind, calibration=images.repeat(4, 1, 1, 1).numpy())
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / kind.file_name
                path.write_bytes(content)
                given = open_file(path)(images.numpy())
        except ValueError as error:
            return str(error)
        expected = subnet(images).numpy()
        difference = float(np.abs(given - expected).max() / max(1.0, np.abs(expected).max()))
        if not np.isfinite(given).all() or (kind.precision == "float32" and difference > TOLERANCE):
            return f"differs by {difference:.2g}"
    return "yes"


def main() -> None:
    parser = argparse.ArgumentParser(description="What adopted networks offer.")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="with commas between")
    parser.add_argument("--no-latency", action="store_true", help="measure nothing")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "networks.csv"
    known = {r["network"]: r for r in pd.read_csv(path).to_dict("records")} if path.exists() else {}
    names = options.networks.split(",")
    for name in names:
        try:
            load_model(name)
        except (ValueError, MissingExtra) as error:
            parser.error(str(error))
    for name in names:
        known[name] = row(name, not options.no_latency) | {"made_on": made_on(*PACKAGES)}
        print(known[name], flush=True)
        order = [*(n for n in NETWORKS if n in known), *(n for n in known if n not in NETWORKS)]
        write_text(path, pd.DataFrame([known[n] for n in order]).to_csv(index=False))


if __name__ == "__main__":
    main()
