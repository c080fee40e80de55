"""The database that searches and workers share: opened from a URL, and waited for while it is away.

SQLite serves several processes of one machine; several machines share PostgreSQL.
"""

import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    IntegrityError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)

from latency_tables.files import shown
from nas.errors import Failure, MissingExtra
from nas.progress import SILENT, Listener

T = TypeVar("T")

HEARTBEAT_S, GRACE_S = 10, 60
"""A worker reports this often, and is given up after so long without a report."""
WAIT_S = 120
"""How long a database may be away (restarted, or locked by others) before a search or a worker gives up."""
OPEN_S = 3
"""The same while it is opened for the first time, when its address may be wrong."""
_BUSY = re.compile(r"is locked|starting up|shutting down|in recovery|too many (clients|connections)|connection slots")
"""What a database says that is there and has no time: its address is not wrong."""
_CONNECT_S = 5
_LOCK_S = 1  # SQLite waits without listening to Ctrl-C, so it waits shortly and is tried again
_PAUSES_S = 0.2, 1.0
_OPENED_AT_ONCE = 20
"""By so many processes a new database may be; each step of making its tables may have been another's."""
_PACKAGES = {"MySQLdb": "mysqlclient"}

optuna.logging.set_verbosity(optuna.logging.WARNING)  # a line for each trial would hide the search's own messages


class Database:
    """An Optuna storage that is waited for while it is away.

    Parameters
    ----------
    url : of the database, like ``sqlite:///runs/nas.db`` or ``postgresql://user@host/nas``.
    listener : is told when the database is waited for.
    wait_s : how long to try to open it; later `WAIT_S` counts.

    Attributes
    ----------
    name : the URL without a password.
    storage : Optuna's.
    between_tries : called before each new try; what it raises ends the waiting.

    Raises
    ------
    ValueError : not the URL of a database.
    MissingExtra, Failure : its driver is not installed, or it does not answer.
    """

    def __init__(self, url: str, listener: Listener = SILENT, wait_s: float = OPEN_S) -> None:
        self._listener = listener
        self.between_tries: Callable[[], None] = lambda: None
        address, options = _address(url)
        self.name = address.render_as_string(hide_password=True)
        self.storage = self._try(lambda: self._open(address, options), wait_s, (DBAPIError,))

    def wait_for(self, work: Callable[[], T]) -> T:
        """The result of `work`, which is tried again while the database is away.

        Raises
        ------
        Failure : it has been away for `WAIT_S` seconds.
        """
        return self._try(work, WAIT_S, (OperationalError, InterfaceError))

    def _open(self, address: URL, options: dict[str, Any]) -> RDBStorage:
        text = address.render_as_string(hide_password=False)

        def opened() -> RDBStorage:
            with ignore_experimental():
                return RDBStorage(
                    text,
                    options,
                    heartbeat_interval=HEARTBEAT_S,
                    grace_period=GRACE_S,
                    heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
                )

        try:
            for _ in range(_OPENED_AT_ONCE):
                try:
                    return opened()
                except (IntegrityError, ProgrammingError, OperationalError) as error:
                    # Another process has just made the tables, or a part of them: it is no matter of waiting.
                    if not (isinstance(error, IntegrityError) or "already exists" in str(error)):
                        raise
            return opened()
        except (ArgumentError, NoSuchModuleError) as error:
            raise ValueError(f"--storage {self.name} is not the URL of a database: {error}") from error
        except ImportError as error:
            if address.drivername == "postgresql+psycopg":
                raise MissingExtra("psycopg", "postgres") from error
            name = getattr(error.__cause__, "name", None) or address.drivername
            raise Failure(
                f"--storage {self.name} needs the Python package {_PACKAGES.get(name, name)}, which is not "
                "installed; SQLite and PostgreSQL are tested"
            ) from error

    def _try(self, work: Callable[[], T], wait_s: float, errors: tuple[type[Exception], ...]) -> T:
        began, (pause_s, longest_s) = time.monotonic(), _PAUSES_S
        said = False
        while True:
            try:
                return work()
            except (DBAPIError, StorageInternalError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                reason = shown(" ".join(str(getattr(cause, "orig", cause)).split()), 200)
                if not isinstance(cause, errors):
                    raise Failure(f"the storage {self.name} failed: {reason}") from error
                limit_s = WAIT_S if _BUSY.search(reason) else wait_s
                if time.monotonic() - began + pause_s > limit_s:
                    raise Failure(f"the storage {self.name} has not answered for {limit_s:g} s: {reason}") from error
            if not said and limit_s == WAIT_S:
                self._listener.say(f"the storage {self.name} does not answer; trying for {limit_s:g} s ({reason})")
                said = True
            self.between_tries()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)


@contextmanager
def ignore_experimental() -> Iterator[None]:
    """Heartbeats may change in a later Optuna, which is no concern of who runs a search."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def _address(url: str) -> tuple[URL, dict[str, Any]]:
    """The URL with its driver, and options that bound how long the driver waits."""
    if "://" not in url:
        raise ValueError(f"--storage takes the URL of a database, like sqlite:///runs/nas.db; got {shown(url)!r}")
    try:
        address = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ValueError(f"--storage is not the URL of a database: {' '.join(str(error).split())}") from error
    scheme = address.drivername
    if scheme == "sqlite":
        if address.database:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        return address, {"connect_args": {"timeout": _LOCK_S}}
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        # A host that vanishes closes no connection: libpq is told to look.
        alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
        options = {"connect_args": {"connect_timeout": _CONNECT_S} | alive}
        return address.set(drivername="postgresql+psycopg"), options
    return address, {}
