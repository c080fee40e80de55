"""Text that is typed arrives as it was typed, whatever it looks like."""

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nas.cli.app import register_settings
from nas.cli.arguments import hydra_arguments
from nas.cli.config import SETTINGS
from nas.cli.flags import parse, quote
from nas.cli.overrides import parse_override
from nas.cli.verb import VERBS
from nas.pipeline.settings import from_plain
from nas.shipped.conf import CONF

ODD = ["2026_11_27", "2024", "1e3", "0x10", "007", "true", "Null", "null", "inf", "-nan", "[a]", "{a: 1}", "a b", "a,b",
       "a'b", 'a"b', "\\", "a\\", "\\'", "${a}", "\\${a}", "\\\\${a}", "$a", "a=b", "ä/ö", "a:b", "(x)", "choice(1)",
       "@x", "?", "???", "a#b", "--", "é", "$\\{x}", "%", "1:2", "a\tb", " a ", "*"]  # fmt: skip


def value_of(override: str) -> object:
    key, _, _ = override.partition("=")
    made = OmegaConf.create({key: parse_override(override).value()})
    return OmegaConf.to_container(made, resolve=True)[key]


@pytest.mark.parametrize("text", ODD)
def test_quoted_text_comes_back(text: str) -> None:
    assert value_of(f"x={quote(text)}") == text


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12))
def test_any_text_comes_back(text: str) -> None:
    assert value_of(f"x={quote(text)}") == text


@settings(max_examples=200, deadline=None)
@given(st.text("\\'\"${}ab,= ", min_size=1, max_size=8))
def test_quotes_backslashes_and_interpolations_come_back(text: str) -> None:
    assert value_of(f"x={quote(text)}") == text


def typed(verb: str, *words: str) -> object:
    """The settings of a command line."""
    register_settings()
    arguments = hydra_arguments(VERBS[verb], parse(words, VERBS[verb].flags))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose(verb, arguments), resolve=True)
    return from_plain(SETTINGS[verb], plain)


@pytest.mark.parametrize("text", [t for t in ODD if t not in ("null", "???") and t[0] not in "'\""])
def test_flags_overrides_and_positionals(text: str) -> None:
    assert typed("search", f"--device={text}", "--macs=1M").device == text
    assert typed("train", "data=folder", f"data.root=./{text}").data.root == f"./{text}"
    assert typed("train", f"--data=./{text}").data.root == f"./{text}"
    if not text.startswith("-") and "=" not in text:
        assert typed("report", text).run == text


def test_a_folder_named_like_a_number(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()
    assert typed("train", "--data", "2024").data.root == "2024"


def test_the_home_folder(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert typed("train", "--data=~/photos").data.root == "/home/me/photos"
    assert typed("train", "data=folder", "data.root=~/photos").data.root == "/home/me/photos"
    assert typed("search", "--supernet=~/a b", "--macs=1M").supernet == "/home/me/a b"
    assert typed("report", "~/x").run == "/home/me/x"


def test_numbers_stay_numbers() -> None:
    assert typed("search", "--seed", "7", "--confidence", "0.9", "--macs", "1M", "batch=null").seed == 7
    with pytest.raises(ValueError, match="seed: should be a valid integer"):
        typed("search", "--seed", "x", "--macs", "1M")
