"""Finding the most accurate network that keeps a budget, and proving that it does (no torch).

``nas.search(...)`` is `nas.pipeline.api.search`: a package and a function have this name, so the package can be called.
"""

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package as the function of its name."""

    def __call__(self, **settings: Any) -> Any:
        """See `nas.pipeline.api.search`."""
        return _function()(**settings)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function())


def _function() -> Any:
    # Imported when it is called: it imports all that a search needs.
    return import_module("nas.pipeline.api").search


sys.modules[__name__].__class__ = _Callable
