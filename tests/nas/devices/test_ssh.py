"""A real sshd on loopback: measuring over it, and every way it can refuse."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from nas.devices.device import Device
from nas.devices.protocol import Protocol
from nas.devices.spec import DeviceSpec
from nas.devices.transport import DeviceUnavailable
from search_spaces import get_space

SPACE = get_space("mobilenet_v3_small_images")
QUICK = Protocol(rounds=10, runs=2, batch_of_nets=2)
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None, reason="needs sshd and ssh: apt-get install openssh-server"
)


class Board(NamedTuple):
    folder: Path
    server: int


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """A private sshd with its own keys; the ssh configuration that reaches it as ``board``."""
    folder = tmp_path_factory.mktemp("ssh")
    for key in ("host", "client", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    shutil.copy(folder / "client.pub", folder / "authorized")
    port = free_port()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        f"PidFile {folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    entry = (
        "Host {}\n  HostName 127.0.0.1\n  Port {}\n  User {}\n  IdentityFile {}\n  IdentitiesOnly yes\n"
        "  UserKnownHostsFile {}\n"
    )
    user = getpass.getuser()
    (folder / "config").write_text(
        entry.format("board", port, user, folder / "client", folder / "known")
        + entry.format("locked", port, user, folder / "stranger", folder / "known")
        + entry.format("unknown", port, user, folder / "client", folder / "nobody")
        + entry.format("off", free_port(), user, folder / "client", folder / "known")
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    assert SSHD is not None
    server = subprocess.Popen([SSHD, "-D", "-f", folder / "sshd_config"], stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    else:
        pytest.skip("sshd does not start here")
    yield Board(folder, server.pid)
    server.terminate()
    server.wait()


def device(board: Board, tmp_path: Path, host: str = "board", python: str = sys.executable) -> Device:
    far = tmp_path / "far"
    far.mkdir(exist_ok=True)
    spec = DeviceSpec(
        "board", transport="ssh", host=host, python=python, ssh_config=str(board.folder / "config"), folder=str(far)
    )
    return Device(spec, folder=tmp_path / "table", protocol=QUICK)


def test_measuring_over_ssh_leaves_a_table_here_and_nothing_there(board: Board, tmp_path: Path) -> None:
    there = device(board, tmp_path)
    table = there.measure(SPACE, SPACE.sample(3, np.random.default_rng(0)))
    assert len(table) == 3
    assert table.card.transport == "ssh"
    assert table.card.conditions["cores"] == os.cpu_count()
    assert list((tmp_path / "far").iterdir()) == []


def children(parent: int) -> list[int]:
    return [
        int(stat.parent.name)
        for stat in Path("/proc").glob("[0-9]*/stat")
        if stat.read_text().rsplit(")", 1)[1].split()[1] == str(parent)
    ]


def test_a_connection_cut_half_way_loses_nothing_and_leaves_nothing(board: Board, tmp_path: Path) -> None:
    there = device(board, tmp_path)
    there.protocol = Protocol(rounds=3000, runs=2, batch_of_nets=2, seconds=60)
    rows = SPACE.sample(4, np.random.default_rng(0))
    quick = device(board, tmp_path)
    quick.measure(SPACE, rows[:1])

    def cut(done: int, total: int) -> None:
        threading.Timer(3, lambda: [os.kill(pid, signal.SIGKILL) for pid in children(board.server)]).start()

    with pytest.raises(DeviceUnavailable, match=r"^board: "):
        there.measure(SPACE, rows, progress=cut)
    known = there.table.read()
    assert known is not None
    assert 1 <= len(known) <= 3
    assert len(quick.measure(SPACE, rows)) == 4
    end = time.monotonic() + 20
    while list((tmp_path / "far").iterdir()):
        assert time.monotonic() < end, "the far side did not notice"
        time.sleep(0.2)


def test_a_withdrawn_key_stops_it_in_between(board: Board, tmp_path: Path) -> None:
    there = device(board, tmp_path)
    rows = SPACE.sample(3, np.random.default_rng(0))
    authorized, withdrawn = board.folder / "authorized", board.folder / "withdrawn"
    try:
        with pytest.raises(DeviceUnavailable, match=r"^board: .*Permission denied"):
            there.measure(SPACE, rows, progress=lambda done, total: authorized.rename(withdrawn) if done else None)
    finally:
        withdrawn.rename(authorized)
    known = there.table.read()
    assert known is not None
    assert len(known) == 2


@pytest.mark.parametrize(
    ("host", "python", "message"),
    [
        ("off", sys.executable, "^off: .*Connection refused"),
        ("locked", sys.executable, r"^locked: .*Permission denied.*; type: ssh-copy-id -F \S+config locked$"),
        ("unknown", sys.executable, r"^unknown: .*Host key verification failed\.; type: ssh -F \S+config unknown$"),
        ("no-such-host.invalid", sys.executable, "^no-such-host.invalid: .*resolve"),
        ("board", "/no/python", "^board: .*/no/python"),
    ],
)
def test_refusals_are_one_sentence(host: str, python: str, message: str, board: Board, tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=message) as caught:
        device(board, tmp_path, host, python).probe()
    assert "\n" not in str(caught.value)


def test_a_far_side_without_the_runtime_says_so(board: Board, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare")
    far = device(board, tmp_path, python=str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(DeviceUnavailable, match="board: onnxruntime is not installed for"):
        far.probe()


def test_the_home_folder_may_be_written_as_a_tilde(board: Board, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()

    def from_home(path: str | Path) -> str:
        return f"~/{os.path.relpath(path, os.path.expanduser('~'))}"

    spec = DeviceSpec(
        "board",
        transport="ssh",
        host="board",
        python=from_home(sys.executable),
        ssh_config=from_home(board.folder / "config"),
        folder=from_home(tmp_path / "far"),
    )
    assert Device(spec).probe().machine.cores == os.cpu_count()
    assert Device(DeviceSpec("here", python=from_home(sys.executable))).probe().machine.cores == os.cpu_count()
