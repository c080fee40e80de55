"""Hardware-aware neural architecture search: ``nas.search``, ``nas.train``, ``nas.load_subnet``.

Importing this package imports nothing heavy; each function does when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.pipeline.api import search, train
    from nas.progress import SILENT
    from nas.supernet import load_subnet

__version__ = "0.1.0"
__all__ = ["SILENT", "load_subnet", "search", "train"]

_WHERE = {"SILENT": "nas.progress", "load_subnet": "nas.supernet", "train": "nas.pipeline.api"}


def __getattr__(name: str) -> Any:
    if name == "search":
        return import_module("nas.search")  # the package of this name can be called
    if name not in _WHERE:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
