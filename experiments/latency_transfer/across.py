"""How far a fleet measured on two spaces carries to a third: a Pixel 1 on ProxylessNAS.

Every device of the fleet gets one non-negative cost for a launch, a MAC, a moved element and a weight of each
class of layers, fitted to its NAS-Bench-201 and FBNet rows together; that is a latency function for any space.
The target is the sum of ProxylessNAS's own Pixel 1 table over random networks of its space (milliseconds). It
is adapted to with n of them, or with once-for-all's published Pixel 1 networks, which are of yet another space,
and compared with a straight line over MACs through the same points.
"""

import json

import numpy as np
import pandas as pd
from scipy.optimize import nnls
from scipy.stats import spearmanr

from experiments.latency_transfer.data import SIMULATED, data_folder, load_fleet
from predictors.gaussian_process import GroupedGaussianProcess, Term
from predictors.operators import CLASSES, QUANTITIES, WIDTH, OperatorTotals
from search_spaces import SearchSpace, get_space

PHONES = ("pixel3", "pixel2", "essential_ph_1", "samsung_a50", "samsung_s7")
N_TARGET, N_FLEET, SEEDS = 500, 800, 10
COUNTS = (0, 3, 7, 10)
TERMS = {"level": (0.3, 0.5), "slope": (0.3, 0.5), "sources": (1.0, 1.0), "totals": (0.2, 1.0)}


def fleet_costs() -> pd.DataFrame:
    """Milliseconds for a unit of each total, one column a device, fitted to both spaces."""
    features, latency, common = [], [], None
    for name in ("nasbench201", "fbnet"):
        fleet = load_fleet(name)
        rows = np.flatnonzero(fleet.usable)[:N_FLEET]
        features.append(OperatorTotals(fleet.space)(fleet.population[rows])[:, :WIDTH])
        latency.append({device: values[rows] for device, values in fleet.latency_ms.items()})
        common = [d for d in latency[-1] if (common is None or d in common) and d not in SIMULATED]
    totals = np.concatenate(features).astype(np.float64)
    scale = np.maximum(totals.mean(axis=0), 1e-9)
    costs = {}
    for device in common or []:
        measured = np.concatenate([values[device] for values in latency])
        # Relative errors count: the two spaces' latencies are of different size.
        costs[device] = nnls(totals / scale / measured[:, None], np.ones(len(measured)))[0] / scale
    return pd.DataFrame(costs)


def pixel1_table(space: SearchSpace, population: np.ndarray) -> np.ndarray:
    """Latency of ProxylessNAS networks by its Pixel 1 table, shape ``(n,)``."""
    table = pd.read_csv(data_folder() / "luts" / "proxylessnas_pixel1_lut.csv")
    blocks = table[table["type"] == "expanded_conv"]
    keys = zip(blocks["input"], blocks["output"], blocks["expand"], blocks["kernel"], blocks["stride"], strict=True)
    block_ms = dict(zip(((i, o, int(e), int(k), int(s)) for i, o, e, k, s in keys), blocks["mean_ms"], strict=True))
    fixed_ms = table.loc[table["type"] != "expanded_conv", "mean_ms"].sum()
    out = np.full(len(population), fixed_ms)
    for i, genotype in enumerate(population):
        for slot, layers in zip(space.slots, space.layers(genotype), strict=True):
            if layers and slot.name not in ("stem", "head"):
                depthwise = next(layer for layer in layers if layer.is_depthwise)
                first, last = layers[0], next(layer for layer in reversed(layers) if layer.kind == "conv")
                shape_in, shape_out = (f"{s}x{s}x{c}" for s, c in ((first.size, first.in_channels), (last.out_size, last.out_channels)))
                expand = depthwise.in_channels // first.in_channels
                out[i] += block_ms[shape_in, shape_out, expand, depthwise.kernel, depthwise.stride]
    return out


def published_pixel1() -> tuple[np.ndarray, np.ndarray]:
    """Totals ``(7, WIDTH)`` and latencies of once-for-all's published Pixel 1 networks."""
    table = pd.read_csv(data_folder() / "ofa" / "published_specialized_nets.csv")
    table = table[table["device"] == "pixel1"]
    totals = []
    for row in table.itertuples():
        width = 1.2 if row.stem_channels == 24 else 1.0
        space = get_space("mobilenet_v3", width_mult=width, resolutions=(row.resolution,))
        totals.append(OperatorTotals(space)(_genotype(space, json.loads(row.blocks))[None])[0, :WIDTH])
    return np.stack(totals), table["latency_ms"].to_numpy()


def _genotype(space: SearchSpace, blocks: list[list[object]]) -> np.ndarray:
    """The genotype of a published block list ``[in, mid, out, kernel, stride, ...]``."""
    genes = {gene.name: gene for gene in space.genes}
    choice = dict.fromkeys(genes, 0)
    stage = depth = 0
    for channels_in, mid, _, kernel, stride, *_ in blocks[1:]:
        starts = stride == 2 or (stage == 3 and depth >= 2 and channels_in != blocks[-1][2] and _ != channels_in)
        stage, depth = (stage + 1, 1) if starts else (stage, depth + 1)
        choice[f"stage{stage}_depth"] = genes[f"stage{stage}_depth"].values.index(max(depth, 2))
        place = f"stage{stage}_block{depth}"
        choice[f"{place}_kernel"] = genes[f"{place}_kernel"].values.index(kernel)
        ratios = np.array(genes[f"{place}_expansion"].values)
        choice[f"{place}_expansion"] = int(np.abs(ratios - mid / channels_in).argmin())
    return np.array([choice[gene.name] for gene in space.genes], dtype=np.int16)
