"""The published networks in numbers: what each makes a device do, from its traced layers.

Every network is made with random weights, exported, read by `nas.tracing` and summed up by `predictors.operators`.
What comes of it is `results/networks.csv`, so that nothing has to be traced again; what could not be used, and why,
stands in `results/left_out.csv`. Sizes are pixels; totals are of one image.
"""

import re
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from experiments.latency_transfer.data import data_folder
from latency_tables.files import write_text
from nas.tracing.graph import Graph, read_graph
from nas.tracing.model import exported, load_model
from predictors.operators import CLASSES, QUANTITIES, layer_totals
from search_spaces.traced import at_resolution

RESULTS = Path(__file__).with_name("results")
NETWORKS, LEFT_OUT = RESULTS / "networks.csv", RESULTS / "left_out.csv"
TOTALS = [f"{quantity}_{kind}" for quantity in QUANTITIES for kind in CLASSES]
LARGEST_GMACS = 2.0
"""Of timm's networks that are traced: what a search for a phone or a desktop processor is about."""
MACS_APART, ROUNDED = 0.08, 0.006
"""Share and G MACs by which traced and published MACs may differ: timm counts norms and pooling too, and rounds. More
means another network, another size, or branches that were merged."""
ATTENTION = re.compile(
    "byoanet|coat|convit|crossvit|deit|edgenext|efficientformer(_v2)?|efficientvit_(mit|msra)|eva|levit|maxxvit|"
    "metaformer|mlp_mixer|mobilevit|pit|pvt_v2|shvit|swiftformer|tiny_vit|visformer|vision_transformer(_hybrid)?|xcit"
)
"""Files of timm whose networks have attention, token mixing or group-norm: tracing refuses them."""
FROM_QUALCOMM = ("timm:dla102x",)
"""Networks of timm that Qualcomm's rows name; traced whatever their size."""
TWO_FORMS = re.compile(r"repvgg|mobileone|repvit|repghost|fastvit")
"""Networks whose branches are merged for inference, or not: the tables do not say which one was timed."""


def published() -> Iterator[tuple[str, int, float]]:
    """Name, resolution and published GMACs of every network that can be made, the smallest first."""
    folder = data_folder() / "published_models"
    made = pd.read_csv(folder / "qaihub_models.csv").dropna(subset=["build", "resolution"])
    found = [
        (row["build"], int(str(row["resolution"]).split("x")[0]), float(row["built_gmacs_conv_linear"]))
        for row in made.to_dict("records")
    ]
    timed = pd.read_csv(folder / "timm_infer.csv").groupby(["model", "resolution"])["gmacs"].median()
    timm = [(f"timm:{name}", int(side), float(gmacs)) for (name, side), gmacs in timed.items()]
    yield from sorted(found, key=lambda one: one[2])
    yield from sorted(timm, key=lambda one: (one[2], one[0]))


FAMILIES = {
    "mobilenet": r"mobilenet",
    "efficientnet": r"efficientnet|tinynet",
    "found by search": r"mnasnet|spnasnet|semnasnet|fbnet|hardcorenas|lcnet",
    "mixnet": r"mixnet",
    "rexnet": r"rexnet",
    "ghostnet": r"ghostnet",
    "starnet": r"starnet",
    "regnet": r"regnet|nf_regnet",
    "convnext": r"convnext|inception_next|mambaout",
    "resnet": r"resnet|resnext|wide_resnet|skresnet",
    "hgnet": r"hgnet",
}
"""By family, how the names of its networks begin; every other network is a family by its own letters."""


def family(network: str) -> str:
    """What a network is a variant of."""
    name = re.sub(r"^(tf|ssl|swsl|gluon|legacy|adv|gc|ese)_|^se(?=resnet)", "", network.split(":")[1])
    known = (title for title, start in FAMILIES.items() if re.match(start, name))
    letters = re.match(r"[a-z]+", name)
    assert letters is not None
    return next(known, letters[0])


def reason_not_to_trace(network: str, gmacs: float) -> str:
    """Why a network is not tried; empty for one that is."""
    name = network.split(":")[1]
    if network.startswith("timm:") and network not in FROM_QUALCOMM:
        from timm.models._registry import _model_to_module

        if name not in _model_to_module:
            return "not in the installed timm"
        if name.startswith("test_"):
            return "a toy network for tests"
        if ATTENTION.fullmatch(_model_to_module[name]):
            return "attention or token mixing, which tracing refuses"
        if TWO_FORMS.match(name):
            return "branches merged or not: the tables do not say which"
        if not gmacs <= LARGEST_GMACS:
            return f"more than {LARGEST_GMACS:g} G MACs"
    elif "." in name:
        return "not a classifier of images"
    return ""


@lru_cache(maxsize=1)
def _traced(network: str) -> tuple[Graph, int]:
    torch.manual_seed(0)
    model = load_model(network)
    return read_graph(exported(model)), model.resolution


def totals(network: str, side: int) -> np.ndarray:
    """Totals in the order of `TOTALS`.

    Raises
    ------
    ValueError : the network cannot be traced, or not at this size.
    """
    graph, resolution = _traced(network)
    layers = graph.layers
    if side != resolution:
        if graph.one_size:
            raise ValueError(f"takes images of one size only: {graph.one_size}")
        layers = list(at_resolution(layers, side, graph.like))
    return np.sum([layer_totals(layer) for layer in layers], axis=0)


def trace_all(seconds: float = 60.0) -> None:
    """Trace what `results/` does not have yet; it is written every so many seconds."""
    kept = pd.read_csv(NETWORKS).to_dict("records") if NETWORKS.exists() else []
    dropped = pd.read_csv(LEFT_OUT).to_dict("records") if LEFT_OUT.exists() else []
    done = {(row["network"], row["resolution"]) for row in kept + dropped}
    refused: dict[str, str] = {row["network"]: row["reason"] for row in dropped}
    last = time.monotonic()
    # All sizes of a network follow each other, so that it is traced once.
    rows = sorted((one for one in published() if one[:2] not in done), key=lambda one: one[0].split(":")[1])
    for network, side, gmacs in rows:
        reason = reason_not_to_trace(network, gmacs) or (refused.get(network, "") if gmacs <= LARGEST_GMACS else "")
        if not reason:
            try:
                found = totals(network, side)
                macs = found[len(CLASSES) : 2 * len(CLASSES)].sum() / 1e9
                if abs(macs - gmacs) > MACS_APART * gmacs + ROUNDED:
                    reason = f"traced {macs:.3f} G MACs, published {gmacs:.3f}"
            except Exception as error:
                reason = refused[network] = str(error).splitlines()[0][:200]
        about = {"network": network, "resolution": side}
        if reason:
            dropped.append(about | {"reason": reason})
        else:
            numbers = {name: int(value) for name, value in zip(TOTALS, found, strict=True)}
            kept.append(about | numbers)
        if time.monotonic() - last > seconds:
            _write(kept, dropped)
            last = time.monotonic()
            print(f"{len(kept)} networks and sizes, {len(dropped)} left out", flush=True)
    _write(kept, dropped)


def _write(kept: list[dict], dropped: list[dict]) -> None:
    for path, rows in ((NETWORKS, kept), (LEFT_OUT, dropped)):
        write_text(path, pd.DataFrame(rows).sort_values(["network", "resolution"]).to_csv(index=False))


def read_networks() -> pd.DataFrame:
    """The networks that were traced, one row for each network and resolution."""
    rows = pd.read_csv(NETWORKS)
    return rows.assign(family=rows["network"].map(family))
