"""Measurements of finalists by session, and the chance that a network which kept a limit keeps it again.

A session is one fresh process on the device. Latencies repeat within a process far better than from one process to
the next, so one session proves nothing. What decides is the latency of *another* session: a prediction
interval from the mean of a network's sessions and the spread between sessions. Latencies are milliseconds.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from latency_tables.columns import numbers, read_columns, refuse
from latency_tables.files import MAX_BYTES, write_text
from nas.search.latency import ONLY_DEVICE, Latency

EVALUATED, LOSS = "measured_accuracy", "measured_loss"
_MOST = {EVALUATED: (1.0, "fraction"), LOSS: (1e9, "loss")}
"""Of the columns that are no latencies: the highest value allowed (0 is the lowest), and what it is called."""

USUAL_SPREAD, USUAL_WEIGHT = 0.01, 4.0
"""Relative standard deviation between sessions before this device's own is measured, and the weight of that guess."""
AGAIN = 0.995
"""Chance with which one more session must keep the limit before a network is accepted."""

Floats = NDArray[np.float64]


def measured_columns(latency: Latency = ONLY_DEVICE) -> list[str]:
    """Columns of a latency as measured, its p10 and its p90."""
    return [latency.column(f"measured_{name}_ms") for name in ("latency", "p10", "p90")]


class Ledger:
    """What has been measured, by session and architecture: a CSV file, rewritten atomically at every change.

    Session 0 holds accuracies and losses; latencies are counted from session 1.

    Parameters
    ----------
    path : the file, read if it is there; None keeps everything in memory.
    """

    _KEY = ["session", "architecture"]

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        table = pd.DataFrame(columns=self._KEY)
        if path is not None and path.exists():
            table = _read(path, self._KEY)
        self._table = table.astype({"session": np.int64}).set_index(self._KEY).astype(np.float64)

    def lookup(self, session: int, architectures: Sequence[str], columns: list[str]) -> Floats:
        """What is known, shape (n_architectures, n_columns), not-a-number where nothing is."""
        keys = pd.MultiIndex.from_product([[session], list(architectures)], names=self._KEY)
        return self._table.reindex(index=keys, columns=columns).to_numpy(dtype=np.float64)

    def record(self, session: int, architectures: Sequence[str], columns: list[str], values: Floats) -> None:
        """Keep `values` of shape (n_architectures, n_columns)."""
        keys = pd.MultiIndex.from_product([[session], list(architectures)], names=self._KEY)
        new = keys[~keys.isin(self._table.index)]
        known = self._table.reindex(self._table.index.append(new))
        self._table = known.reindex(columns=list(dict.fromkeys([*known.columns, *columns])))
        self._table.loc[keys, columns] = values
        if self.path is not None:
            write_text(self.path, self._table.to_csv())


def _read(path: Path, key: list[str]) -> pd.DataFrame:
    """The table of a killed search.

    Raises
    ------
    ValueError : it cannot be read.
    """
    table = read_columns(path, key, key, max_bytes=MAX_BYTES)
    table["session"] = numbers(path, table["session"], "session", whole=True, least=0)
    for column in table.columns.difference(key):
        given = table.loc[table[column] != "", column]
        if column in _MOST:
            found, (most, what) = pd.to_numeric(given, errors="coerce"), _MOST[column]
            refuse(path, ~((found >= 0) & (found <= most)), given, f"in {column} is no {what}")
        else:
            numbers(path, given, column)
        # Not by pandas, which before 3 does not read back exactly the float that was written.
        table[column] = given.map(float).reindex(table.index)
    if (twice := table.duplicated(key)).any():
        refuse(path, twice, table["architecture"], "was measured twice in one session")
    return table.reset_index(drop=True)


class Sessions:
    """Latencies of networks over sessions.

    Attributes
    ----------
    ms : (n_networks, n_sessions), not-a-number where a session left a network out.
    """

    def __init__(self) -> None:
        self.ms: Floats = np.empty((0, 0))
        self._percentiles: Floats = np.empty((0, 0, 2))

    def add(self, n_networks: int, rows: NDArray[np.intp], measured: Floats) -> None:
        """Append a session.

        Parameters
        ----------
        n_networks : known from now on; new ones come behind the known ones.
        rows : (k,), the networks that were measured.
        measured : (k, 3), their latency, p10 and p90.
        """
        before, sessions = self.ms.shape
        ms, percentiles = np.full((n_networks, sessions + 1), np.nan), np.full((n_networks, sessions + 1, 2), np.nan)
        ms[:before, :sessions], percentiles[:before, :sessions] = self.ms, self._percentiles
        ms[rows, sessions], percentiles[rows, sessions] = measured[:, 0], measured[:, 1:]
        self.ms, self._percentiles = ms, percentiles

    @property
    def n(self) -> NDArray[np.intp]:
        """Sessions of each network, (n_networks,)."""
        return np.asarray(np.isfinite(self.ms).sum(axis=1))

    @property
    def mean_ms(self) -> Floats:
        """Geometric mean over sessions, (n_networks,)."""
        return np.asarray(np.exp(np.nanmean(np.log(self.ms), axis=1)))

    def slowest(self) -> Floats:
        """Latency, p10 and p90 of each network's slowest session, (n_networks, 3)."""
        worst = np.nanargmax(self.ms, axis=1)[:, None]
        latency = np.take_along_axis(self.ms, worst, axis=1)
        return np.concatenate([latency, np.take_along_axis(self._percentiles, worst[..., None], axis=1)[:, 0]], axis=1)

    @property
    def spread(self) -> float:
        """Relative standard deviation of a network's latency from session to session, `USUAL_SPREAD` counted in."""
        squares, repetitions = 0.0, 0
        if self.ms.size:
            known = np.isfinite(self.ms)
            away = np.where(known, np.log(self.ms / self.mean_ms[:, None]), 0)
            squares, repetitions = float(np.square(away).sum()), int((known.sum(axis=1) - 1).sum())
        return float(np.sqrt((USUAL_WEIGHT * USUAL_SPREAD**2 + squares) / (USUAL_WEIGHT + repetitions)))

    def margin(self, n: int | NDArray[np.intp]) -> Floats:
        """By how much, relative, another session may exceed the mean of `n` sessions, with the chance `AGAIN`."""
        return np.asarray(np.exp(NormalDist().inv_cdf(AGAIN) * self.spread * np.sqrt(1 + 1 / np.asarray(n))) - 1)

    def bound_ms(self, least: int) -> Floats:
        """What another session will keep, (n_networks,): the slowest so far, or the mean with its margin if more.

        Parameters
        ----------
        least : sessions that a network will have had when it is judged; one that had fewer gets the margin of these.
        """
        margin = self.margin(np.maximum(self.n, least))
        return np.asarray(np.maximum(self.mean_ms * (1 + margin), np.nanmax(self.ms, axis=1)))
