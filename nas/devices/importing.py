"""Other people's measurements as a device's latency table: a CSV with the documented columns, or block tables."""

import datetime
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

from latency_tables.card import Card, device_name, read_card
from latency_tables.table import COLUMNS, DISAGREEMENT, KEY, LatencyTable, merge_repeats, read_rows, write_table
from nas.devices.block_table import read_block_table
from nas.devices.conditions import conditions_of, conditions_wanted, contradiction, machine_here
from nas.devices.device_table import DEVICES_FOLDER, DeviceTable
from nas.devices.learning import fleet_predictor
from nas.devices.registry import find_spec, with_threads
from nas.devices.spec import DeviceSpec
from nas.devices.throttling import describe_slowdown, find_slowdown
from nas.progress import SILENT, Listener
from predictors.latency.slowdown import find_slowdown_of_device
from search_spaces import SearchSpace, get_space

SAMPLES = 300
"""Networks that stand for a block table: enough to learn every block of a space from."""
THEIR_OWN = ("programs", "first_core", "address")
"""Of a foreign card: what was run, which the user of this one has not been shown, and where."""
COMPARED = ("runtime", "threads", "processor", "board")
"""Conditions of a file that must be those of the device; its core and programs mean nothing here."""
OF_EVERY_ROW = ("runtime", "threads")
"""Conditions that the card of a table says of each of its rows."""


def import_table(
    paths: Sequence[Path],
    name: str,
    *,
    space: SearchSpace | None = None,
    batch: int | None = None,
    threads: int | None = None,
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
    name : of the device, or an alias; rows are added to what its table already holds, whose card stays.
    space : whose networks a block table is summed for; a CSV says it itself, in its column ``space``, and `space` tells
        the options of the one that has its name.
    batch, threads : of the measurements, where the files do not say it; the device on another number of threads than
        its card says has a table of its own, as in `get_device`.
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
    ValueError : anything wrong with the files (one sentence with file and line), no space for a block table, or files
        of another batch, precision, runtime, number of threads or processor than the device's.
    """
    if not paths:
        raise ValueError("nothing to import: name a CSV file or block tables")
    device_name(name)
    first, known = Path(paths[0]), find_spec(name, folder)
    spec = known or DeviceSpec(name, transport="none", runtime="", threads=0)
    if threads is not None and threads != spec.threads:
        spec = with_threads(spec, threads) if spec.threads else replace(spec, threads=threads)

    def find_space(label: str) -> SearchSpace:
        return space if space is not None and label == space.name else get_space(label)

    kind = first.suffix.lower()
    if kind == ".csv":
        if len(paths) > 1:
            raise ValueError(f"one CSV at a time, got {len(paths)} files")
        beside = next((path for path in (first.with_suffix(".yaml"), first.with_suffix(".yml")) if path.exists()), None)
        unsaid = Card(name, precision=spec.precision, provenance=f"imported from {first.name}")
        card = read_card(beside) if beside else unsaid
        rows = read_rows(first, find_space=find_space, card=_bounds(card, spec), batch=batch or 1)
    elif kind in (".yaml", ".yml"):
        if space is None:
            raise ValueError(f"{first} holds blocks: name the search space whose networks they make up")
        card = Card(name, provenance=f"sums of block latencies from {first.name}")
        rows = _sums(paths, space, samples, seed).assign(batch=batch or 1, precision=spec.precision)
    else:
        raise ValueError(f"{first} is neither a CSV file nor a YAML block table")
    if batch is not None and (others := sorted({*rows["batch"]} - {batch})):
        raise ValueError(f"{first} has rows of batch {others[0]}, --batch says {batch}; leave --batch out")
    warnings = _slowdowns(rows, first, find_space)
    stored = DeviceTable(spec, folder / spec.name)
    with stored.locked(listener):
        before = stored.read()  # published figures stay beside those that are added
        card = _joined(card, None if before is None else before.card, spec, known, first)
        card = replace(card, precision=_precision(rows, before, spec if known else None, first))
        if before is not None:
            _refuse_contradictions(before.rows, rows, stored.path, first)
            rows = merge_repeats(pd.concat([before.rows, rows], ignore_index=True))
        table = LatencyTable(rows, card)
        write_table(stored.path, table)
    for warning in warnings:
        listener.say(f"warning: {warning}")
    return table


def _bounds(card: Card, spec: DeviceSpec) -> Card:
    """The card of a file, with what else is known of how fast its networks can be."""
    # A command may run them on an accelerator, whose speed does not come from threads.
    threads = 0 if spec.command else spec.threads
    return replace(card, runtime=card.runtime or spec.runtime, threads=card.threads or threads)


def _joined(card: Card, before: Card | None, spec: DeviceSpec, known: DeviceSpec | None, path: Path) -> Card:
    """What is known of the device, and what the card of the file `path` says besides.

    Parameters
    ----------
    card : of the file.
    before : of the latencies that are stored.
    spec : the device, with the number of threads that was asked for; `known` without.

    Raises
    ------
    ValueError : they contradict each other, or the file says what is not known of the latencies that are stored.
    """
    said = conditions_of(card)
    stored = conditions_of(before) if before else {}
    own = conditions_wanted(spec) | stored
    if "processor" in said and spec.transport == "local":
        own = conditions_of(Card(spec.name, conditions=machine_here(spec.runtime))) | own
    if found := contradiction(said, own, COMPARED):
        raise ValueError(
            f"{path} was measured with {found[0]}, {spec.name} is {found[1]}; import it under a name of its own, with "
            "--device NAME"
        )
    if before is not None:
        now, sure = conditions_wanted(spec) | said, stored | (conditions_wanted(known) if known else {})
        if unsure := [f"{each}: {now[each]}" for each in OF_EVERY_ROW if each in now and each not in sure]:
            raise ValueError(
                f"{path} was measured with {', '.join(unsure)}, and of the latencies that {spec.name} has that is not "
                "known; leave it out, or import the file under a name of its own, with --device NAME"
            )
    card = replace(
        card,
        aliases=spec.aliases or card.aliases,
        chip=card.chip or spec.chip,
        runtime=card.runtime or spec.runtime,
        threads=card.threads or spec.threads,
        date=card.date or datetime.date.today().isoformat(),
        conditions={key: value for key, value in card.conditions.items() if key not in THEIR_OWN},
    )
    if before is not None:
        card = Card(**{field.name: getattr(before, field.name) or getattr(card, field.name) for field in fields(Card)})
    return replace(card, name=spec.name)


def _precision(rows: pd.DataFrame, before: LatencyTable | None, spec: DeviceSpec | None, path: Path) -> str:
    """The one precision of the device: that of all rows in the file `path`.

    Parameters
    ----------
    rows : of the file.
    before : what the device's own table holds.
    spec : of the device; None where it is new.

    Raises
    ------
    ValueError : rows of several, or of another than the device's.
    """
    found = {*rows["precision"]}
    own = set() if spec is None else {spec.precision}
    if spec is not None and spec.transport == "none" and before is not None:
        stored = {*before.rows["precision"]}
        own = own & stored or stored  # earlier versions took the card's word for it, whatever the rows said
    if len(found | own) > 1:
        device = f", {spec.name} is {' and '.join(sorted(own))}" if spec else ""
        raise ValueError(
            f"{path} has {' and '.join(sorted(found))} rows{device}; a device has one precision: import each under a "
            "name of its own, with --device NAME"
        )
    return str(next(iter(found)))


def _refuse_contradictions(stored: pd.DataFrame, rows: pd.DataFrame, table: Path, path: Path) -> None:
    """Refuse a file `path` whose `rows` contradict those stored in `table` of the same networks.

    Raises
    ------
    ValueError : they do; names the first network.
    """
    both = stored.merge(rows, on=list(KEY), suffixes=("", "_new"))
    before, now = (both[column].to_numpy(dtype=np.float64) for column in ("latency_ms", "latency_ms_new"))
    for i in np.flatnonzero(np.maximum(before, now) > (1 + DISAGREEMENT) * np.minimum(before, now))[:1]:
        raise ValueError(
            f"{path} says that {both['architecture'][i]} takes {now[i]:g} ms, {table} says {before[i]:g} ms; "
            "delete its line in the file that is wrong"
        )


def _slowdowns(rows: pd.DataFrame, path: Path, find_space: Callable[[str], SearchSpace]) -> list[str]:
    """A sentence for each batch, and each space where there is no reference, in which the device slowed down."""
    if "order" not in rows:
        return []
    order = pd.to_numeric(rows["order"], errors="coerce")
    if order.isna().any():
        wrong = rows.loc[order.isna(), "order"].iloc[0]
        raise ValueError(f"{path}: {wrong!r} in column order is no number; it numbers the rows as they were measured")
    rows = rows.iloc[np.argsort(order.to_numpy(), kind="stable")]
    sentences = []
    if "reference_ms" in rows and rows["reference_ms"].notna().any():
        for batch, group in rows.groupby("batch", sort=False):
            known = np.flatnonzero(group["reference_ms"].notna())  # it may be blank for some
            found = find_slowdown(group["reference_ms"].to_numpy(dtype=np.float64)[known])
            if found is not None:
                found = found._replace(after=int(known[found.after]))
                what = "network" if len(group) == len(rows) else f"network at batch {batch}"
                sentences.append(describe_slowdown(found, len(group), what))
        return sentences
    for (label, _), group in rows.groupby(["space", "batch"], sort=False):
        space = find_space(str(label))
        population = np.stack([space.parse(text) for text in group["architecture"]])
        slow = find_slowdown_of_device(fleet_predictor(space), population, group["latency_ms"].to_numpy(np.float64))
        if slow is not None:
            sentences.append(
                f"the device seems to have slowed down while it was measured: from network {slow.after + 1} of "
                f"{len(group)} on, networks of {label} took about {slow.factor:g} times as long as expected"
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
