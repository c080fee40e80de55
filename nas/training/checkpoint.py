"""The state of a run in one file, so that a killed run goes on to the identical result.

`checkpoint.safetensors` holds the tensors, and in its header one JSON text (the step, the sums since the last
log record, and what run it belongs to) and the digest of all. One file is replaced atomically; two could disagree.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, uint8

from latency_tables.files import atomic_path, parse_json, shown
from latency_tables.sealed import BLANK, KEY, seal, sealed_metadata
from nas.data.dataset import OFTEN_OTHERS_BY
from nas.errors import OtherCheckpoint
from nas.progress import SILENT, Listener

T = TypeVar("T")

FILE = "checkpoint.safetensors"
PARAMETERS = "parameters"


@dataclass
class Progress:
    """How far a run has come.

    Attributes
    ----------
    step : steps taken.
    seconds : time spent in them, however often the run was interrupted.
    threads : CPU threads; the same number gives the same result.
    bfloat16 : whether forward passes run in it; None before that was decided.
    pooled : whether random subnets come from a pool (see `nas.training.pool`); None before that was decided.
    initial_weights : SHA-256 of the weights that the run began with.
    sums : of losses and correct answers since the last log record.
    validation : accuracy of the max and the min net when last evaluated.
    """

    step: int = 0
    seconds: float = 0.0
    threads: int = 1
    bfloat16: bool | None = None
    pooled: bool | None = None
    initial_weights: str = ""
    sums: dict[str, float] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)


@dataclass
class _Header:
    progress: Progress
    identity: dict[str, Any]


def save_checkpoint(
    folder: Path, tensors: Mapping[str, Tensor], progress: Progress, identity: Mapping[str, Any]
) -> None:
    """Replace the checkpoint in `folder`.

    Parameters
    ----------
    identity : JSON-able facts that a run must share with its checkpoint: space, recipe, seed, data.

    Raises
    ------
    OSError : it cannot be written; the previous checkpoint is intact.
    """
    header = json.dumps({"progress": asdict(progress), "identity": dict(identity)})
    # Channels-last weights are not contiguous, which the format asks for.
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with atomic_path(folder / FILE) as temporary:
            save_file(plain, temporary, metadata={"run": header, KEY: BLANK})
            seal(temporary)
    except (OSError, SafetensorError) as error:
        kept = "the previous checkpoint is intact" if (folder / FILE).is_file() else "there is no earlier one"
        raise OSError(
            f"the checkpoint of step {progress.step} cannot be written to {folder} ({error}); {kept}: "
            "make room, then go on"
        ) from error


def load_checkpoint(folder: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Progress] | None:
    """The tensors and the progress of the checkpoint in `folder`; None where there is none.

    Raises
    ------
    OtherCheckpoint : it is damaged, or belongs to a run with another identity (says in what they differ).
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        header = parse_json(sealed_metadata(path).get("run", "null"), _Header, "its header")
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        detail = shown(" ".join(str(error).split()), 300)
        raise OtherCheckpoint(f"the checkpoint {path} is damaged ({detail})", "delete it to train anew") from error
    progress, found = header.progress, header.identity
    wanted = json.loads(json.dumps(dict(identity)))
    # The number of epochs may have been chosen by time, and is chosen again where anything else differs.
    for name in sorted(wanted, key=lambda name: name == "recipe"):
        if found.get(name) != wanted[name]:
            there, here = _difference(found.get(name), wanted[name])
            why = f", {OFTEN_OTHERS_BY}" if name == "data" else ""
            raise OtherCheckpoint(
                f"{path} is of another run: its {name} differs ({there}, not {here}){why}",
                "type the settings that it was begun with, or delete it to train anew",
            )
    return tensors, progress


def going_on_or_anew(work: Callable[..., T], what: str, listener: Listener = SILENT) -> T:
    """Let `work` go on from its checkpoint; where that is of other work, or damaged, say so and let it start anew.

    Parameters
    ----------
    work : takes `resume`.
    what : its name in a sentence.
    """
    try:
        return work(resume=True)
    except OtherCheckpoint as error:
        listener.say(f"{what} starts anew, as it cannot go on: {error.reason}")
        return work(resume=False)


def weights_digest(network: nn.Module) -> str:
    """What the weights of a network are told by.

    Its batch-norm statistics are left out: calibrated by another processor, or with other threads, they differ in their
    last bits.
    """
    return f"{PARAMETERS} {digest(network.parameters())}"


def digest_as_in(folder: Path) -> Callable[[nn.Module], str]:
    """`weights_digest`, or what took its place where the checkpoint in `folder` is by an earlier version."""
    try:
        identity = parse_json(sealed_metadata(folder / FILE).get("run", "null"), _Header, "its header").identity
    except (SafetensorError, OSError, ValueError):
        return weights_digest
    known = [str(identity[name]) for name in ("network", "teacher") if identity.get(name) is not None]
    if all(PARAMETERS in word for word in known):
        return weights_digest
    return lambda network: digest(network.state_dict().values())


def digest(tensors: Iterable[Tensor]) -> str:
    """SHA-256 of the values of `tensors`."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(uint8).numpy().data)
    return digest.hexdigest()


def _difference(found: Any, wanted: Any) -> tuple[str, str]:
    """The first place where two JSON values differ, written shortly."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in wanted:
            if found.get(key) != wanted[key]:
                there, here = _difference(found.get(key), wanted[key])
                return f"{key} {there}", here
    there, here = (text if len(text := json.dumps(value)) <= 40 else text[:37] + "..." for value in (found, wanted))
    return there, here
