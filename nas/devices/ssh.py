"""A computer behind ssh: a board, a server. The other computer needs Python and the runtime, nothing of this project.

One connection does it all: a line of Python there unpacks what comes in on stdin (the agent, the job, the
networks) into a temporary folder, runs the agent, and removes the folder.
"""

import io
import json
import re
import shlex
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.devices.transport import AGENT, DeviceUnavailable, Events, Transport, stream_events

CONNECT_TIMEOUT_S = 10
UNPACK_AND_RUN = """
import os, shutil, subprocess, sys, tarfile, tempfile
folder = tempfile.mkdtemp(dir=os.path.expanduser(sys.argv[1]) or None)
try:
    tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall(folder)
    code = subprocess.call([sys.executable, "agent.py"], cwd=folder, stdin=open(folder + "/job.json"))
finally:
    shutil.rmtree(folder, ignore_errors=True)
sys.exit(code)
"""


@dataclass(frozen=True)
class Ssh(Transport):
    """Runs the agent on another computer.

    Attributes
    ----------
    host : as ssh takes it: ``user@host``, ``ssh://user@host:port`` or a name from the ssh configuration.
    python : the interpreter there that has the runtime.
    folder : there, in which a temporary folder is made; empty for the system's choice.
    config : an ssh configuration file; empty for the user's own.
    """

    host: str
    python: str = "python3"
    folder: str = ""
    config: str = ""

    def run(self, job: Mapping[str, Any], models: Mapping[str, Path], *, silence_s: float, limit_s: float) -> Events:
        """See `Transport.run`."""
        names = {key: f"{key}{path.suffix}" for key, path in models.items()}
        content = pack({**job, "models": names}, {names[key]: path for key, path in models.items()})
        options = [
            *("-o", "BatchMode=yes"),  # no question that would wait for an answer
            *("-o", f"ConnectTimeout={CONNECT_TIMEOUT_S}"),
            *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
        ]
        config = ["-F", self.config] if self.config else []
        command = ["ssh", "-T", *config, *options, "--", self.host, far_command(self.python, self.folder)]
        try:
            yield from stream_events(command, stdin=content, silence_s=silence_s, limit_s=limit_s, where=self.host)
        except DeviceUnavailable as error:
            raise DeviceUnavailable(f"{error}{_hint(str(error), shlex.join([*config, self.host]))}") from None


def far_command(python: str, folder: str) -> str:
    """The command line that unpacks and runs there; the shell there knows what ``~`` before `python` stands for."""
    home, slash, rest = python.partition("/")
    at_home = slash and re.fullmatch(r"~[\w.-]*", home)
    program = f"{home}/{shlex.quote(rest)}" if at_home else shlex.quote(python)
    return f"{program} {shlex.join(['-c', UNPACK_AND_RUN, folder])}"


def _hint(reason: str, host: str) -> str:
    """What to type where ssh wants an answer, which it cannot be given here."""
    if "Host key verification failed" in reason:
        return f"; type: ssh {host}"
    return f"; type: ssh-copy-id {host}" if "Permission denied (" in reason else ""


def pack(job: Mapping[str, Any], models: Mapping[str, Path]) -> bytes:
    """A tar archive of the agent, ``job.json`` and the model files under their names there."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(AGENT, "agent.py")
        entry = tarfile.TarInfo("job.json")
        text = json.dumps(job).encode()
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
        for name, path in models.items():
            tar.add(path, name)
    return archive.getvalue()
