"""What ``supernet.json`` holds, as types: a run folder may come from elsewhere, so every field is checked when read.

Imports no torch. Fields that are not named here are kept as they are. Accuracies are fractions.
"""

from pathlib import Path
from typing import Annotated, Any, NotRequired

from annotated_types import Ge, Gt, Le, Len
from pydantic import ConfigDict
from typing_extensions import TypedDict

from latency_tables.files import read_json
from nas.shipped import CARD

Count = Annotated[int, Ge(0), Le(2**53)]


class RecordedSpace(TypedDict):
    """A search space; see `search_spaces.recorded`."""

    name: str
    options: dict[str, Any]


class RecordedData(TypedDict):
    """Of the images of the training; see `nas.data.ImageData`. The side of synthesised images is that of the others
    unless `calibration_side` says another one."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    fingerprint: str
    name: NotRequired[str]
    resolution: NotRequired[Annotated[int, Ge(1), Le(4096)]]
    calibration_side: NotRequired[Annotated[int, Ge(1), Le(4096)]]
    sizes: NotRequired[dict[str, Count]]


class RecordedSubnet(TypedDict):
    """A network that was judged on the test split when a shipped supernet was made."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    macs: Annotated[int, Gt(0)]
    test_accuracy: Annotated[float, Ge(0), Le(1)]


class RecordedOriginal(TypedDict):
    """The trained network that a shipped supernet was made of.

    `title` is its name, `validation` and `test` are its accuracies on the same images as the subnets', `published` is
    the one on the images that its publication names.
    """

    title: str
    validation: Annotated[float, Ge(0), Le(1)]
    test: Annotated[float, Ge(0), Le(1)]
    published: Annotated[float, Ge(0), Le(1)]


class RecordedRecipe(TypedDict):
    """See `nas.training.Recipe`."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    name: str


class TrainedBefore(TypedDict):
    """How many images of each split the weights that the training started from had been trained on."""

    validation: Count
    test: Count


class RecordedTraining(TypedDict):
    """What travels with the weights; a supernet of one's own making may lack all of it."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]

    data: NotRequired[RecordedData]
    data_settings: NotRequired[dict[str, Any]]
    classes: NotRequired[list[str]]
    mean: NotRequired[Annotated[list[float], Len(3, 3)]]
    std: NotRequired[Annotated[list[float], Len(3, 3)]]
    recipe: NotRequired[RecordedRecipe]
    seed: NotRequired[int]
    seconds: NotRequired[Annotated[float, Ge(0), Le(1e9)]]
    subnets: NotRequired[list[RecordedSubnet]]
    original: NotRequired[RecordedOriginal]
    trained_before: NotRequired[TrainedBefore]
    starts_trained: NotRequired[bool]
    validation: NotRequired[dict[str, Annotated[float, Ge(0), Le(1)]]]


class SupernetRecord(TypedDict):
    """A trained supernet: its space, its weights' digest, and what is known of its training."""

    space: RecordedSpace
    kernel_transform: bool
    sha256: str
    card: RecordedTraining


def read_card(folder: Path) -> SupernetRecord:
    """``supernet.json`` in the folder of a trained supernet.

    Raises
    ------
    ValueError : there is none, or a field is missing or wrong.
    """
    return read_json(folder / CARD, SupernetRecord)
