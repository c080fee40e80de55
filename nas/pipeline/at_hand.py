"""Trained networks whose weights are on this machine, by name; a search is compared with them. Imports no torch."""

import os
from pathlib import Path

from latency_tables.files import file_digest
from nas.shipped.pretrained import pretrained, pretrained_names

AUTO, NONE = "auto", "none"
MOST = 3
"""Baselines of a search, where none are named."""
TORCHVISION = (
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "mnasnet1_0",
    "shufflenet_v2_x1_0",
    "regnet_y_400mf",
    "resnet18",
)
"""Networks of torchvision that people run on phones and boards, with trained weights."""


def weights_at_hand() -> dict[str, Path]:
    """Files of torchvision's trained weights that torch has downloaded before, by network."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    folder = Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser() / "hub" / "checkpoints"
    found = {name: sorted(folder.glob(f"{name}-????????.pth")) for name in TORCHVISION}
    return {name: files[-1] for name, files in found.items() if files}


def baseline_names(asked: str) -> list[str]:
    """Names of the networks to compare with.

    Parameters
    ----------
    asked : ``auto`` for those at hand, ``none``, or names with commas between.

    Raises
    ------
    ValueError : a name that is not known, or whose weights are not at hand or damaged.
    """
    if asked == NONE:
        return []
    at_hand = [*(name for name in pretrained_names() if pretrained(name).installed), *weights_at_hand()]
    if asked == AUTO:
        return at_hand[:MOST]
    names = [name.strip() for name in asked.split(",")]
    if missing := [name for name in names if name not in at_hand]:
        raise ValueError(
            f"baselines={asked}: no weights of {', '.join(missing)} here; at hand: {', '.join(at_hand) or 'none'}"
            f" (torchvision downloads those of {', '.join(TORCHVISION)}); or baselines=none"
        )
    for path in (path for name, path in weights_at_hand().items() if name in names):
        check_weights(path)
    return names


def check_weights(path: Path) -> None:
    """See that a file of torchvision's weights is the one that its name says.

    Raises
    ------
    ValueError : it is damaged.
    """
    if not file_digest(path).startswith(path.stem[-8:]):
        raise ValueError(f"{path} is damaged: its SHA-256 is not the one in its name; delete it")
