"""Numbers that cannot work are refused where they are given, whichever verb they are given to."""

from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest

from nas.cli.config import SETTINGS
from nas.pipeline.settings import from_plain

REQUIRED = {"run": "x"}
CALLED = {"max_accuracy_drop": "max.accuracy.drop", "device_threads": "threads"}
NUMBERS = [
    (verb, f.name)
    for verb, kind in SETTINGS.items()
    for f in fields(kind)
    if {int, float} & set(get_args(get_type_hints(kind)[f.name]) or (get_type_hints(kind)[f.name],)) - {NoneType}
]


@pytest.mark.parametrize(("verb", "name"), NUMBERS)
@pytest.mark.parametrize("value", [-1, -(10**30), float("nan"), float("inf"), "1", True, [1]], ids=str)
def test_a_number_that_cannot_work_is_refused(verb: str, name: str, value: Any) -> None:
    required = {key: "x" for key in REQUIRED if key in {f.name for f in fields(SETTINGS[verb])}}
    with pytest.raises(ValueError, match=CALLED.get(name, name)):
        from_plain(SETTINGS[verb], {**required, name: value})


def test_there_are_some() -> None:
    assert {("export", "batch"), ("measure", "seed"), ("finetune", "max_accuracy_drop")} < set(NUMBERS)
