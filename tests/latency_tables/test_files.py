"""Whatever lies at a path, a reader gets what it asked for or one sentence."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency_tables.files import PlainName, check_value, read_json, read_text, read_yaml


@dataclass(frozen=True)
class Limit:
    key: PlainName
    value: float
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError(f"value must be above 0, got {self.value:g}")


@dataclass(frozen=True)
class Card:
    name: str
    threads: int
    limits: list[Limit]


GOOD = {"name": "pixel", "threads": 2, "limits": [{"key": "macs", "value": 3, "tags": ["a"]}]}


def test_a_good_file_becomes_the_typed_object(tmp_path: Path) -> None:
    expected = Card("pixel", 2, [Limit("macs", 3.0, ("a",))])
    (tmp_path / "card.json").write_text(json.dumps(GOOD))
    assert read_json(tmp_path / "card.json", Card) == expected
    (tmp_path / "card.yaml").write_text("name: pixel\nthreads: 2\nlimits: [{key: macs, value: 3, tags: [a]}]\n")
    assert read_yaml(tmp_path / "card.yaml", Card) == expected
    (tmp_path / "dates.yaml").write_text("measured: 2024-01-02")
    assert read_yaml(tmp_path / "dates.yaml", dict[str, str]) == {"measured": "2024-01-02"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not valid JSON"),
        ("null", "should be"),
        ("[]", "should be"),
        ('{"name": "pixel", "threads": 2', "is not valid JSON"),
        (json.dumps(GOOD | {"threads": "2"}), "threads should be a valid integer, got '2'"),
        (json.dumps(GOOD | {"threads": None}), "threads should be a valid integer, got None"),
        (json.dumps(GOOD | {"threads": 10**400}), "an integer that is too large"),
        ('{"name": "pixel", "threads": ' + "1" * 5000 + "}", "is not valid JSON"),
        (json.dumps({"name": "pixel", "limits": []}), "threads is missing"),
        (json.dumps({}), "name is missing (and 2 more)"),
        (json.dumps(GOOD | {"limits": [{"key": "macs", "value": -3}]}), "limits[0] value must be above 0, got -3"),
        (json.dumps(GOOD | {"limits": [{"key": "a/../b", "value": 3}]}), "limits[0].key must be a plain name"),
        (json.dumps(GOOD | {"limits": [{"key": "a" * 101, "value": 3}]}), "at most 100 bytes"),
        ('{"name": NaN}', "NaN is no finite number"),
        ('{"name": 1e999}', "no finite number"),
        ('{"name": "a", "name": "b"}', "'name' appears twice"),
        ('{"name": "\\ud800"}', "not valid Unicode"),
        ("[" * 100_000, "50 levels"),
        ("[" * 60 + "]" * 60, "50 levels"),
        (json.dumps(GOOD | {"name": 5}), "name should be a valid string, got 5"),
        (json.dumps(GOOD | {"threads": "x" * 10_000}), "…"),
    ],
)
def test_what_does_not_fit_is_one_short_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "card.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="card.json") as caught:
        read_json(path, Card)
    assert said in str(caught.value)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [*x]", "aliases"),
        ("a: [", "is not valid YAML"),
        ("1: b", "key 1 must be text"),
        ("false: b", "key False must be text"),
        ("a: !!binary aGVsbG8=", "unusual type"),
        ("a: !!python/name:os.system", "is not valid YAML"),
        ("a: .nan", "no finite number"),
        ("[" * 5000, "is not valid YAML|levels"),
        ("- " * 3000 + "a", "levels"),
    ],
)
def test_yaml_that_could_do_harm_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_yaml(path, dict[str, Any])
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_text(path)
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        read_text(tmp_path / "absent")
    with pytest.raises(ValueError, match="cannot be read: File name too long"):
        read_text(tmp_path / ("x" * 300))
    with pytest.raises(ValueError, match="null"):
        read_text(Path("a\0b"))
    (tmp_path / "latin").write_bytes(b"name: caf\xe9")
    with pytest.raises(ValueError, match="byte 9 is 0xe9"):
        read_text(tmp_path / "latin")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="larger than 1 MiB"):
        read_text(tmp_path / "large", max_bytes=2**20)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(field=st.sampled_from(["name", "threads", "limits"]), value=JSON)
def test_any_value_in_any_field_is_taken_or_refused(field: str, value: Any) -> None:
    found: Any = None
    try:
        found = check_value(GOOD | {field: value}, Card, "card.json")
    except ValueError as error:
        found = error
    assert type(found) in (Card, ValueError)
    if isinstance(found, ValueError):
        assert str(found).startswith("card.json")
        assert "\n" not in str(found)
