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
                shape_in = f"{first.size}x{first.size}x{first.in_channels}"
                shape_out = f"{last.out_size}x{last.out_size}x{last.out_channels}"
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
    # A stage is a run of blocks with one number of output channels.
    stage, depth, channels_before = 0, 0, None
    for channels_in, mid, channels_out, kernel, *_ in blocks[1:]:
        stage, depth = (stage + 1, 1) if channels_out != channels_before else (stage, depth + 1)
        channels_before = channels_out
        place, depths = f"stage{stage}_block{depth}", genes[f"stage{stage}_depth"].values
        choice[f"stage{stage}_depth"] = depths.index(max(depth, depths[0]))
        choice[f"{place}_kernel"] = genes[f"{place}_kernel"].values.index(kernel)
        ratios = np.array(genes[f"{place}_expansion"].values)
        choice[f"{place}_expansion"] = int(np.abs(ratios - mid / channels_in).argmin())
    return np.array([choice[gene.name] for gene in space.genes], dtype=np.int16)


def adapted(costs: np.ndarray, support: np.ndarray, latency: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Predicted milliseconds of `target` totals, from the fleet's costs and a few measured `support` totals."""
    both = np.concatenate([support, target]).astype(np.float64)
    sources = both @ costs
    sources /= sources[len(support) :].mean(axis=0)
    mean = sources.mean(axis=1)
    quantity = target.mean(axis=0).reshape(len(QUANTITIES), len(CLASSES)).sum(axis=1)
    relative = (both - target.mean(axis=0)) / np.repeat(np.maximum(quantity, 1e-9), len(CLASSES))
    groups = [np.ones((len(both), 1)), mean[:, None] - 1, (sources - mean[:, None]) / np.sqrt(costs.shape[1]), relative]
    features = np.concatenate(groups, axis=1)
    process = GroupedGaussianProcess(
        [Term(group.shape[1], *prior) for group, prior in zip(groups, TERMS.values(), strict=True)], noise_scale=0.04
    )
    n = len(support)
    unit = latency.mean() / mean[:n].mean()
    process.fit(features[:n], latency / unit - mean[:n], mean[:n])
    return np.asarray(unit * np.maximum(mean[n:] + features[n:] @ process.posterior_.mean, 0.05))


def macs_line(support: np.ndarray, latency: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The straight line over MACs through the same points."""
    macs = [QUANTITIES.index("macs") * len(CLASSES) + i for i in range(len(CLASSES))]
    slope, offset = np.polyfit(support[:, macs].sum(axis=1), latency, 1)
    return np.asarray(offset + slope * target[:, macs].sum(axis=1))


def carry_over() -> pd.DataFrame:
    """Spearman and mean absolute percentage error on the Pixel 1 table, by what it was adapted to."""
    costs = fleet_costs()
    space = get_space("proxylessnas", depths=(1, 2, 3, 4), expansions=(3, 6), resolutions=(224,))
    population = space.sample(N_TARGET, np.random.default_rng(0))
    truth = pixel1_table(space, population)
    totals = OperatorTotals(space)(population)[:, :WIDTH].astype(np.float64)
    phones = costs[[phone for phone in PHONES if phone in costs]]
    rows = []

    def record(method: str, measured: str, n: int, predicted: np.ndarray, rest: np.ndarray) -> None:
        error = np.abs(predicted / truth[rest] - 1).mean()
        rows.append((method, measured, n, spearmanr(predicted, truth[rest]).statistic, error))

    everything = np.arange(N_TARGET)
    record("fleet's phones", "none", 0, (totals @ phones.to_numpy()).mean(axis=1), everything)
    for n in COUNTS[1:]:
        for seed in range(SEEDS):
            chosen = np.random.default_rng(seed).permutation(N_TARGET)
            few, rest = chosen[:n], chosen[n:]
            record("fleet", "its own space", n, adapted(costs.to_numpy(), totals[few], truth[few], totals[rest]), rest)
            record("MACs line", "its own space", n, macs_line(totals[few], truth[few], totals[rest]), rest)
    support, latency = published_pixel1()
    n = len(latency)
    record("fleet", "once-for-all's", n, adapted(costs.to_numpy(), support, latency, totals), everything)
    record("MACs line", "once-for-all's", n, macs_line(support, latency, totals), everything)
    table = pd.DataFrame(rows, columns=["method", "measured networks of", "n", "spearman", "mape"])
    return table.groupby(["measured networks of", "n", "method"]).mean().round(4).reset_index()
