"""A space in one word, as latency tables write it: its name and the options that change what an architecture means.

``mobilenet_v3[width_mult=1.2]`` has the same architecture strings as ``mobilenet_v3`` and other networks. The
number of classes is left out (it hardly moves a latency), and so are lists of choices: they say which strings
exist, not what one means.
"""

import re
from typing import Any

from search_spaces.registry import get_space
from search_spaces.space import SearchSpace


def space_label(space: SearchSpace) -> str:
    """The label of `space`, e.g. ``mobilenet_v3[width_mult=1.2]``."""
    usual = get_space(space.name).options
    options = {
        key: value
        for key, value in space.options.items()
        if key != "num_classes" and not isinstance(value, (list, tuple)) and value != usual.get(key)
    }
    if not options:
        return space.name
    return f"{space.name}[{','.join(f'{key}={value}' for key, value in sorted(options.items()))}]"


def space_from_label(label: str) -> SearchSpace:
    """The space a label names, with the default for every option that the label does not state.

    Raises
    ------
    ValueError : not a label, or the space or one of its options is unknown.
    """
    match = re.fullmatch(r"(\w+)(?:\[([^\]]*)\])?", label.strip())
    if match is None:
        raise ValueError(f"{label!r} is not a search space; write name or name[option=value]")
    name, options = match.groups()
    return get_space(name, **dict(_option(label, part) for part in (options or "").split(",") if part))


def _option(label: str, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{label!r} is not a search space; write name or name[option=value]")
    for kind in (int, float):
        try:
            return key.strip(), kind(value)
        except ValueError:
            continue
    return key.strip(), value.strip()
