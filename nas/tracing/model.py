"""What ``--model`` names: a torchvision or timm network, a function of the user's own, or an exported program.

Files from outside are not executed; see `nas.tracing.program_file` and `nas.tracing.weights`. A function named by
``package.module:function`` is the user's own code and is called.
"""

import difflib
import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from latency_tables.files import file_digest
from nas.errors import MissingExtra
from nas.own_code import code_files
from nas.tracing.program_file import read_program
from nas.tracing.values import NotTraceable
from nas.tracing.weights import classes_in, load_weights

FORMS = "torchvision:NAME, timm:NAME, package.module:function, or a file net.pt2"
USUAL_RESOLUTION = 224
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of pixels, by channel."""
HALF = (0.5,) * 3
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
    normalisation : that its images should have, where it says so.
    notes : sentences the user should read, on the images it is meant for.
    """

    label: str
    resolution: int
    module: nn.Module | None = None
    program: ExportedProgram | None = None
    trained: bool = False
    normalisation: Normalisation | None = None
    notes: tuple[str, ...] = ()

    def forward(self, program: ExportedProgram) -> Callable[[Tensor], Tensor]:
        """Runs images of `resolution` pixels through the given network, as many at once as it takes."""
        if self.module is not None:
            return self.module
        run = program.module()
        (name,) = program.graph_signature.user_inputs
        batch = next(node.meta["val"].shape[0] for node in program.graph.nodes if node.name == name)
        n = batch if isinstance(batch, int) else EXPORT_BATCH

        def forward(images: Tensor) -> Tensor:
            parts = [torch.cat([part] * n)[:n] for part in torch.split(images, n)]
            return torch.cat([run(part) for part in parts])[: len(images)]

        return forward


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
    resolution : side of the images; None for what the network says it is meant for, or 224. (Torchvision says it of its
        weights, so it counts where weights are given.) A ``.pt2`` file has its own.

    Raises
    ------
    ValueError : no such network, a model that raises, weights of another network, a file with pickled code, or one
        for images of another size.
    MissingExtra : timm is not installed.
    """
    kind, _, name = text.partition(":")
    path = None if weights is None else Path(weights).expanduser()
    if text.endswith(".pt2"):
        return _from_file(Path(text).expanduser(), path, resolution)
    if not name:
        raise ValueError(f"--model {text!r} names no network; known forms: {FORMS}")
    if kind in ("torchvision", "timm"):
        make = _torchvision if kind == "torchvision" else _timm
        module, label = make(name, num_classes), name
        if path is not None and (held := classes_in(path, module)):
            module = make(name, held)
    else:
        module, label = _own(kind, name), f"{kind.rsplit('.', 1)[-1]}_{name}"
    of_torchvision = kind == "torchvision" and path is not None
    meant = _torchvision_weights_meant_for(name, module) if of_torchvision else _meant_for(module)
    usual = int(meant["input_size"][-1]) if kind in ("torchvision", "timm") and meant.get("input_size") else None
    side = resolution or usual or USUAL_RESOLUTION
    module = module.eval()
    _complete(module, label, side)
    if path is not None:
        load_weights(module, path)
    module = module.requires_grad_(True)
    found = _normalisation(meant)
    notes = _notes(label, side if resolution is None else USUAL_RESOLUTION, found) if of_torchvision else ()
    return Model(label, side, module, trained=path is not None, normalisation=found, notes=notes)


def _torchvision(name: str, num_classes: int | None) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"torchvision has no classification network {name!r}{_similar(name, known)}")
    options = {} if num_classes is None else {"num_classes": num_classes}
    return _made(f"torchvision:{name}", lambda: models.get_model(name, weights=None, **options))


def _torchvision_weights_meant_for(name: str, module: nn.Module) -> Mapping[str, Any]:
    """What torchvision's weights of a network are meant for, as timm says it of its own."""
    from torchvision import models

    images = models.get_model_weights(name).DEFAULT.transforms()
    # Weights that come from elsewhere expect pixels from -1 to 1, which the network makes itself if it is told to.
    mean, std = (HALF, HALF) if hasattr(module, "transform_input") else (images.mean, images.std)
    return {"input_size": (3, *images.crop_size), "mean": mean, "std": std}


def _notes(label: str, side: int, normalisation: Normalisation | None) -> tuple[str, ...]:
    """On what is taken to be so of a network of torchvision with weights."""
    notes = []
    if normalisation is not None:
        mean, std = (", ".join(f"{number:g}" for number in numbers) for numbers in normalisation)
        notes.append(
            f"torchvision's own weights of {label} expect images normalised by mean {mean} and standard deviation "
            f"{std}; if these expect others, give them by data.mean and data.std"
        )
    if side != USUAL_RESOLUTION:
        notes.append(
            f"torchvision's own weights of {label} are for images of {side} pixels, so the space reads up to {side}; "
            f"--resolution {USUAL_RESOLUTION} takes less time and memory"
        )
    return tuple(notes)


def _timm(name: str, num_classes: int | None) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except ImportError:
        raise MissingExtra("timm", "timm") from None
    known = timm.list_models()
    if name.split(".")[0] not in known:
        raise ValueError(f"timm has no network {name!r}{_similar(name, known)}")
    options = {} if num_classes is None else {"num_classes": num_classes}
    return _made(f"timm:{name}", lambda: timm.create_model(name, pretrained=False, **options))


def _meant_for(module: nn.Module) -> Mapping[str, Any]:
    """What a network of timm, however it was made, says of the images that it is meant for; empty for others."""
    meant = getattr(module, "default_cfg", None)
    return meant if isinstance(meant, Mapping) else {}


def _normalisation(meant: Mapping[str, Any]) -> Normalisation | None:
    found = []
    for name in ("mean", "std"):
        numbers = meant.get(name)
        if not isinstance(numbers, list | tuple) or len(numbers) != 3:
            return None
        if not all(isinstance(n, int | float) and isfinite(n) and (name == "mean" or n > 0) for n in numbers):
            return None
        found.append(tuple(map(float, numbers)))
    return found[0], found[1]


def _similar(name: str, known: list[str]) -> str:
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
            raise ValueError(
                f"there is no Python module {package} (looked in {here} and in what is installed)"
            ) from None
        raise ValueError(f"{package} cannot be imported: {error}") from None
    except Exception as error:
        raise ValueError(f"{package} cannot be imported: {_one_line(error)}") from None
    files = set(map(os.path.realpath, code_files(package)))
    for imported in list(sys.modules.values()):
        file = getattr(imported, "__dict__", {}).get("__file__")
        if isinstance(file, str) and os.path.realpath(file) in files:
            _check_unchanged(imported, Path(file), package)
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"{package} has no function {name}")
    return _made(f"{package}:{name}", function)


def _check_unchanged(module: ModuleType, file: Path, package: str) -> None:
    """Refuse code that was edited after it was imported: Python would make the network as it was before."""
    if module.__spec__ is None:
        return
    digest = file_digest(file)
    # A module that is loaded again has another spec.
    if vars(module.__spec__).setdefault("digest of the file", digest) != digest:
        # What others have imported from it stays as it was.
        instead = f", or type importlib.reload({package})" if module.__name__ == package else ""
        raise ValueError(
            f"{file} has changed since it was imported, and Python still has what was in it before; start Python "
            f"anew{instead}"
        )


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
    with _innermost(model.module) as running:
        try:
            return torch.export.export(model.module, (images,))
        except Exception as error:
            where = f" (module {running[-1]})" if running and running[-1] else ""
            raise NotTraceable(f"{model.label} cannot be exported{where}: {_one_line(error)}") from None


@contextmanager
def _innermost(network: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules that are running, the innermost last."""
    paths = {module: path for path, module in network.named_modules()}
    running: list[str] = []
    hooks = nn.modules.module

    def begin(module: nn.Module, _inputs: Any) -> None:
        running.append(paths.get(module, ""))

    def end(*_: Any) -> None:
        running.pop()

    before, after = hooks.register_module_forward_pre_hook(begin), hooks.register_module_forward_hook(end)
    try:
        yield running
    finally:
        before.remove()
        after.remove()


@torch.no_grad()
def _complete(module: nn.Module, label: str, side: int) -> None:
    """Give lazy layers, which take their sizes from the first images, their weights."""
    if not any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        return
    try:
        module(torch.zeros(EXPORT_BATCH, 3, side, side))
    except Exception as error:
        raise NotTraceable(f"{label} fails on images of {side} pixels: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _from_file(path: Path, weights: Path | None, resolution: int | None) -> Model:
    if weights is not None:
        raise ValueError(f"{path} brings its own weights; leave --weights out")
    program = read_program(path)
    inputs = {str(name) for name in program.graph_signature.user_inputs}
    shapes = [n.meta["val"].shape for n in program.graph.nodes if n.op == "placeholder" and n.name in inputs]
    side = shapes[0][-1] if shapes and len(shapes[0]) == 4 else None
    if side is not None and not isinstance(side, int):
        raise NotTraceable(f"{path} was exported for images of any size; export it with a fixed height and width")
    if side is not None and resolution not in (None, side):
        raise ValueError(
            f"{path} was exported for images of {side} pixels, not for --resolution {resolution}; leave that out, or "
            f"export the network with images of {resolution} pixels"
        )
    return Model(re.sub(r"\W", "_", path.stem), side or USUAL_RESOLUTION, program=program, trained=True)
