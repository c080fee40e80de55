"""Other people's measurements as a device's latency table: a CSV with the documented columns, or block tables."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from latency_tables.card import Card, device_name, read_card
from latency_tables.table import COLUMNS, LatencyTable, merge_repeats, read_rows, write_table
from nas.devices.block_table import read_block_table
from nas.devices.device_table import DEVICES_FOLDER, DeviceTable
from nas.devices.learning import fleet_predictor
from nas.devices.spec import DeviceSpec
from nas.devices.throttling import describe_slowdown, find_slowdown
from nas.progress import SILENT, Listener
from predictors.latency.slowdown import find_slowdown_of_device
from search_spaces import SearchSpace, get_space

SAMPLES = 300
"""Networks that stand for a block table: enough to learn every block of a space from."""


def import_table(
    paths: Sequence[Path],
    name: str,
    *,
    space: SearchSpace | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    folder: Path = DEVICES_FOLDER,
    listener: Listener = SILENT,
) -> LatencyTable:
    """Make the latencies in `paths` those of device `name`, which can then be named like any other.

    Parameters
    ----------
    paths : one CSV (with a card beside it, where there is one), or once-for-all's YAML block tables (one for
        each resolution).
    name : of the device; rows are added to what its table already holds.
    space : whose networks a block table is summed for; a CSV says it itself, in its column ``space``.
    samples, seed : how many networks of the space, and which.
    folder : where devices' tables lie.
    listener : is told when another process measures on the device, which is waited for.

    Returns
    -------
    The device's table as written. Whether the device slowed down is said where a column ``order`` numbers the rows as
    they were measured: told from ``reference_ms``, the latency of one same network beside each, else from the latencies
    themselves.

    Raises
    ------
    ValueError : anything wrong with the files (one sentence with file and line), or no space for a block table.
    """
    if not paths:
        raise ValueError("nothing to import: name a CSV file or block tables")
    device_name(name)
    first = Path(paths[0])
    kind = first.suffix.lower()
    if kind == ".csv":
        if len(paths) > 1:
            raise ValueError(f"one CSV at a time, got {len(paths)} files")
        beside = next((path for path in (first.with_suffix(".yaml"), first.with_suffix(".yml")) if path.exists()), None)
        card = read_card(beside) if beside else Card(name, provenance=f"imported from {first.name}")
        find_space = get_space if space is None else lambda label: space if label == space.name else get_space(label)
        rows = read_rows(first, find_space=find_space, card=card)
    elif kind in (".yaml", ".yml"):
        if space is None:
            raise ValueError(f"{first} holds blocks: name the search space whose networks they make up")
        card = Card(name, provenance=f"sums of block latencies from {first.name}")
        rows = _sums(paths, space, samples, seed)
    else:
        raise ValueError(f"{first} is neither a CSV file nor a YAML block table")
    warnings = _slowdowns(rows, first)
    # What a foreign card says was run has not been shown to the user of this one.
    conditions = {key: value for key, value in card.conditions.items() if key != "programs"}
    card = replace(card, name=name, date=card.date or datetime.date.today().isoformat(), conditions=conditions)
    stored = DeviceTable(DeviceSpec(name, transport="none"), folder / name)
    with stored.locked(listener):
        if stored.path.exists():
            rows = merge_repeats(pd.concat([read_rows(stored.path), rows], ignore_index=True), stored.path)
        table = LatencyTable(rows, card)
        write_table(stored.path, table)
    for warning in warnings:
        listener.say(f"warning: {warning}")
    return table


def _slowdowns(rows: pd.DataFrame, path: Path) -> list[str]:
    """A sentence for each space while whose networks were measured the device slowed down."""
    if "order" not in rows:
        return []
    order = pd.to_numeric(rows["order"], errors="coerce")
    if order.isna().any():
        wrong = rows.loc[order.isna(), "order"].iloc[0]
        raise ValueError(f"{path}: {wrong!r} in column order is no number; it numbers the rows as they were measured")
    rows = rows.iloc[np.argsort(order.to_numpy(), kind="stable")]
    if "reference_ms" in rows:
        found = find_slowdown(rows["reference_ms"].to_numpy(dtype=np.float64))
        return [] if found is None else [describe_slowdown(found, len(rows), "network")]
    sentences = []
    for label, group in rows.groupby("space", sort=False):
        space = get_space(str(label))
        try:
            population = np.stack([space.parse(text) for text in group["architecture"]])
        except ValueError:
            continue  # of a space with other options than usual
        slow = find_slowdown_of_device(fleet_predictor(space), population, group["latency_ms"].to_numpy(np.float64))
        if slow is not None:
            sentences.append(
                f"the device seems to have slowed down while it was measured: from network {slow.after + 1} of "
                f"{len(group)} on, networks of {label} took about {slow.factor:g} times as long as the others speak for"
            )
    return sentences


def _sums(paths: Sequence[Path], space: SearchSpace, samples: int, seed: int) -> pd.DataFrame:
    blocks = read_block_table(*paths)
    population = np.unique(space.sample(samples, np.random.default_rng(seed)), axis=0)
    latency_ms = blocks.latency_ms(space, population)
    rows = pd.DataFrame({"space": space.name, "architecture": space.format(population)})
    rows["resolution"] = space.resolution(population)
    rows = rows.assign(batch=1, precision="float32", latency_ms=latency_ms, p10_ms=latency_ms, p90_ms=latency_ms)
    return rows.assign(runs=1, source="sum of blocks")[list(COLUMNS)]
