"""The published lookup tables of Pixel 1 and Note 10 as block tables, and networks of theirs; milliseconds."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from nas.devices.block_table import BlockTable, read_block_table
from predictors.latency.transfer import Part
from search_spaces import get_space

N_NETWORKS = 1000


def pixel1_networks(folder: Path, seed: int) -> Part:
    """Random networks of ProxylessNAS's original space, summed from its Pixel 1 table."""
    table = read_csv(folder / "proxylessnas_pixel1_lut.csv", resolution=224)
    space = get_space("proxylessnas", depths=(1, 2, 3, 4), expansions=(3, 6), resolutions=(224,))
    population = space.sample(N_NETWORKS, np.random.default_rng(seed), tilt=1.0)
    return Part(space, population, table.latency_ms(space, population))


def note10_networks(folder: Path, seed: int) -> Part:
    """Random networks of once-for-all's space at width 1.2, summed from its Note 10 tables."""
    table = read_csv(folder / "ofa_note10_lut.csv")
    space = get_space("mobilenet_v3_w1.2", resolutions=tuple(sorted(table.blocks)))
    population = space.sample(N_NETWORKS, np.random.default_rng(seed), tilt=1.0)
    return Part(space, population, table.latency_ms(space, population))


def read_csv(path: Path, resolution: int | None = None) -> BlockTable:
    """The shared CSV form of a table, through the importer of its original YAML form."""
    rows = pd.read_csv(path)
    if resolution is not None:
        rows["resolution"] = resolution
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for side, group in rows.groupby("resolution"):
            blocks = {_name(row): {"mean": float(row["mean_ms"])} for row in group.to_dict("records")}
            paths.append(Path(scratch) / f"{side}.yaml")
            paths[-1].write_text(yaml.safe_dump(blocks), encoding="utf-8")
        return read_block_table(*paths)


def _name(row: dict) -> str:
    name = f"{row['type']}-input:{row['input']}-output:{row['output']}"
    if row["type"] != "expanded_conv":
        return name
    options = [key for key in ("expand", "kernel", "stride", "idskip", "se", "hs") if pd.notna(row.get(key))]
    return name + "".join(f"-{key}:{int(row[key])}" for key in options)
