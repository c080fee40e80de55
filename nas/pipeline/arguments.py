"""The arguments of `nas.search` and `nas.train`: their types are checked before anything else, and kept as text.

On the command line types are checked where settings are read (`nas.pipeline.settings`).
"""

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar, get_origin, get_type_hints

from latency_tables.files import shown
from nas.data.settings import names_folder
from nas.pipeline.passwords import hide_passwords
from nas.pipeline.request import Limits
from nas.pipeline.settings import members

LIMITS = {f.name for f in fields(Limits)}
PATHS = ("supernet", "weights", "init", "runs", "out")
NOT_RECORDED = ("listener", "out")
WORDS: dict[Any, str] = {
    str: "text",
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    os.PathLike: "a path",
    Mapping: "a mapping",
}
ADVICE = {
    "device": "; several are one text, like 'pixel,cpu'",
    "format": "; several are one text, like 'onnx,tflite'",
    "precision": "; several are one text, like 'float32,int8'",
    "baselines": "; give 'none' to compare with none, or names in one text with commas between",
    "model": "; name a function that makes the network, like 'my_file:function', or export it to a file net.pt2",
    "train_time": ", like '20min'",
    "finetune_time": ", like '3min' or 'none'",
}

P = ParamSpec("P")
T = TypeVar("T")


def checked(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which is called with arguments of its types only.

    Numbers of NumPy become Python's, paths become text with the home folder in place of ``~``, and a limit that is a
    number becomes text, for which its unit is asked.

    Raises
    ------
    ValueError : an argument is of another type.
    """

    @wraps(function)
    def call(*args: P.args, **given: P.kwargs) -> T:
        hints = get_type_hints(function)
        known = {name: _plain(name, value, hints[name]) for name, value in given.items() if name in hints}
        plain: Any = {**given, **known}
        return function(*args, **plain)

    return call


def as_called(function: Callable[..., Any], given: Mapping[str, Any]) -> str:
    """The call of `function` as it may be typed again, without what is as usual and without passwords."""
    usual = inspect.signature(function).parameters
    recorded = {name: given[name] for name in usual if name not in NOT_RECORDED}
    said = (f"{name}={value!r}" for name, value in recorded.items() if value != usual[name].default)
    return hide_passwords(f"nas.{function.__name__}({', '.join(said)})")


def _plain(name: str, value: Any, hint: Any) -> Any:
    kinds = tuple(get_origin(member) or member for member in members(hint))
    if isinstance(value, Real) and not isinstance(value, bool):
        value = int(value) if isinstance(value, Integral) else float(value)
        if name in LIMITS:
            return f"{value:.12g}"
    whole = type(value) is int and float in kinds
    if not (isinstance(value, kinds) or whole) or (isinstance(value, bool) and bool not in kinds):
        words = " or ".join(WORDS.get(kind, kind.__name__) for kind in kinds if kind is not type(None))
        raise ValueError(f"{name} must be {words}, got {shown(repr(value))}{ADVICE.get(name, '')}")
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
        if name == "data" and not names_folder(value):
            value = f"./{value}"
    return os.path.expanduser(value) if name in PATHS and value is not None else value
