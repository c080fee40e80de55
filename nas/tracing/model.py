"""What ``--model`` names: a torchvision or timm network, a function of the user's own, or an exported program.

Files from outside are not executed: a ``.pt2`` file that holds pickled objects is refused, and weights are read by
`nas.tracing.weights`. A function named by ``package.module:function`` is the user's own code and is called.
"""

import importlib
import io
import json
import pickletools
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from nas.errors import MissingExtra
from nas.tracing.values import NotTraceable
from nas.tracing.weights import load_weights

FORMS = "torchvision:NAME, timm:NAME, package.module:function, or a file net.pt2"
USUAL_RESOLUTION = 224
EXPORT_BATCH = 2


@dataclass(frozen=True)
class Model:
    """A network to be made elastic.

    Attributes
    ----------
    label : its name, as it appears in messages and in the name of its space.
    resolution : side in pixels of the images it is meant for.
    module : in evaluation mode; None where only the program is known.
    program : what was read from a ``.pt2`` file.
    trained : it has the weights of a file.
    """

    label: str
    resolution: int
    module: nn.Module | None = None
    program: ExportedProgram | None = None
    trained: bool = False

    def forward(self, program: ExportedProgram) -> Callable[[Tensor], Tensor]:
        """Runs two images of `resolution` pixels through the given network."""
        return self.module if self.module is not None else program.module()


def load_model(
    text: str, weights: Path | None = None, *, num_classes: int | None = None, resolution: int | None = None
) -> Model:
    """The network that ``--model`` and ``--weights`` name.

    Parameters
    ----------
    text : one of `FORMS`.
    weights : a state dict; see `nas.tracing.weights.load_weights`. None leaves the network as it is made.
    num_classes : for networks of torchvision and timm without weights, the classes they are made with. (With
        weights the file says how many; `nas.supernet` replaces the classifier.)
    resolution : side of the images; None for what the network says it is meant for, or 224.

    Raises
    ------
    ValueError : no such network, a model that raises, weights of another network, a file with pickled code.
    MissingExtra : timm is not installed.
    """
    kind, _, name = text.partition(":")
    if text.endswith(".pt2"):
        return _from_file(Path(text).expanduser(), weights)
    if not name:
        raise ValueError(f"--model {text!r} names no network; known forms: {FORMS}")
    held = None if weights is None else _classes_in(Path(weights).expanduser())
    if kind == "torchvision":
        module, usual = _torchvision(name, held or num_classes), USUAL_RESOLUTION
    elif kind == "timm":
        module, usual = _timm(name, held or num_classes)
    else:
        module, usual = _own(kind, name), USUAL_RESOLUTION
    label = name if kind in ("torchvision", "timm") else f"{kind.rsplit('.', 1)[-1]}_{name}"
    if weights is not None:
        load_weights(module, Path(weights).expanduser())
    module = module.eval().requires_grad_(True)
    return Model(label, resolution or usual, module, trained=weights is not None)


def _torchvision(name: str, num_classes: int | None) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"torchvision has no classification network {name!r}{_similar(name, known)}")
    options = {} if num_classes is None else {"num_classes": num_classes}
    return _made(f"torchvision:{name}", lambda: models.get_model(name, weights=None, **options))


def _timm(name: str, num_classes: int | None) -> tuple[nn.Module, int]:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise MissingExtra("timm", "timm") from None
    known = timm.list_models()
    if name.split(".")[0] not in known:
        raise ValueError(f"timm has no network {name!r}{_similar(name, known)}")
    options = {} if num_classes is None else {"num_classes": num_classes}
    module = _made(f"timm:{name}", lambda: timm.create_model(name, pretrained=False, **options))
    size = (getattr(module, "default_cfg", None) or {}).get("input_size") or (3, USUAL_RESOLUTION, USUAL_RESOLUTION)
    return module, int(size[-1])


def _similar(name: str, known: list[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, 3)
    return f"; similar: {', '.join(close)}" if close else f"; it has {len(known)} others"


def _own(package: str, name: str) -> nn.Module:
    """Call the user's own function."""
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", package) or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"--model {package}:{name} names no network; known forms: {FORMS}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name and (package == error.name or package.startswith(error.name + ".")):
            raise ValueError(f"there is no Python module {package} (looked in {here} and in what is installed)") from None
        raise ValueError(f"{package} cannot be imported: {error}") from None
    except Exception as error:
        raise ValueError(f"{package} cannot be imported: {_one_line(error)}") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{package} has no function {name}")
    return _made(f"{package}:{name}", function)


def _made(text: str, function: Callable[[], Any]) -> nn.Module:
    try:
        made = function()
    except MissingExtra:
        raise
    except Exception as error:
        raise ValueError(f"{text} could not be made: {_one_line(error)}") from None
    if not isinstance(made, nn.Module):
        raise ValueError(f"{text} gave a {type(made).__name__}, not a torch.nn.Module")
    return made


def _classes_in(path: Path) -> int | None:
    """The classes of the classifier in a file of weights: outputs of its last matrix."""
    from nas.tracing.weights import read_state_dict

    tensors = [t for k, t in read_state_dict(path).items() if t.ndim in (2, 4) and k.endswith("weight")]
    return len(tensors[-1]) if tensors and tensors[-1].ndim == 2 else None


# Export -------------------------------------------------------------------------------------------------


def exported(model: Model) -> ExportedProgram:
    """The flat graph of a network.

    Raises
    ------
    NotTraceable : it cannot be exported; quotes the first line that torch says of it.
    """
    if model.program is not None:
        return model.program
    assert model.module is not None
    images = torch.zeros(EXPORT_BATCH, 3, model.resolution, model.resolution)
    try:
        with torch.no_grad():
            outputs = model.module(images)
    except Exception as error:
        raise NotTraceable(f"{model.label} fails on images of {model.resolution} pixels: {_one_line(error)}") from None
    if not isinstance(outputs, Tensor):
        kind = type(outputs).__name__
        raise NotTraceable(f"{model.label} gives a {kind}, not one tensor of class scores")
    try:
        return torch.export.export(model.module, (images,))
    except Exception as error:
        raise NotTraceable(f"{model.label} cannot be exported{_where(error)}: {_one_line(error)}") from None


def _where(error: Exception) -> str:
    """The module in which the export stopped, as far as the message says."""
    found = re.findall(r"module[_ ]?(?:path|name)?[:=] ?'?([\w.]+)'?", str(error))
    frames = [line for line in str(error).splitlines() if re.search(r'File ".*", line \d+, in forward', line)]
    if found:
        return f" (module {found[-1]})"
    if frames:
        place = re.search(r'File "(.*)", line (\d+)', frames[-1])
        if place:
            return f" (forward in {Path(place[1]).name}, line {place[2]})"
    return ""


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


# Exported programs as files -----------------------------------------------------------------------------


def _from_file(path: Path, weights: Path | None) -> Model:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if weights is not None:
        raise ValueError(f"{path} brings its own weights; leave --weights out")
    _refuse_pickles(path)
    try:
        program = torch.export.load(path)
    except Exception as error:
        raise ValueError(f"{path} is no exported program that this torch can read: {_one_line(error)}") from None
    shape = next(
        (tuple(n.meta["val"].shape) for n in program.graph.nodes if n.op == "placeholder" and n.name in _inputs(program)),
        (),
    )
    side = int(shape[-1]) if len(shape) == 4 and isinstance(shape[-1], int) else USUAL_RESOLUTION
    label = re.sub(r"\W", "_", path.stem)
    return Model(label, side, program=program, trained=True)


def _inputs(program: ExportedProgram) -> set[str]:
    return {str(name) for name in program.graph_signature.user_inputs}


def _refuse_pickles(path: Path) -> None:
    """See that no part of the archive is a pickle that would run code.

    Raises
    ------
    ValueError : there is one, or the file is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if _runs_code(archive.read(name), name):
                    raise ValueError(
                        f"{path} holds pickled code ({name}), which is never executed here; save it by "
                        "torch.export.save with plain tensors as weights and example inputs left out"
                    )
    except zipfile.BadZipFile:
        raise ValueError(f"{path} is no file written by torch.export.save") from None


ALLOWED_GLOBALS = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch FloatStorage",
        "torch LongStorage",
        "torch.nn.parameter Parameter",
    }
)
"""What a pickle of tensors names."""


def _runs_code(content: bytes, name: str) -> bool:
    """Whether a member of an archive is a pickle that names anything but tensors."""
    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            return any(_runs_code(inner.read(member), member) for member in inner.namelist())
    if name.endswith((".json", ".txt")):
        try:
            json.loads(content)
        except (ValueError, UnicodeDecodeError):
            return False
        return False
    if not content.startswith(b"\x80"):
        return name.endswith(".pkl")
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name in ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE"):
                strings.append(str(argument))
            if opcode.name in ("GLOBAL", "INST") and str(argument) not in ALLOWED_GLOBALS:
                return True
            if opcode.name == "STACK_GLOBAL" and " ".join(strings[-2:]) not in ALLOWED_GLOBALS:
                return True
            if opcode.name in ("EXT1", "EXT2", "EXT4"):
                return True
    except ValueError:
        return name.endswith(".pkl")
    return False


__all__ = ["FORMS", "Model", "exported", "load_model", "replace"]
