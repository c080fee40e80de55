"""The password of a database is used, and stands in nothing that is written or shown."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.cli.arguments import hydra_arguments
from nas.cli.flags import parse
from nas.cli.main import main
from nas.cli.passwords import without_passwords
from nas.cli.verb import VERBS
from nas.errors import Failure
from nas.pipeline.passwords import hide_passwords
from nas.pipeline.request import SearchRequest
from nas.progress import Listener

SECRET = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="@"), min_size=4)


@settings(deadline=None)
@given(SECRET, st.sampled_from(["postgresql", "mysql+pymysql", "postgresql+psycopg"]))
def test_no_password_is_left_in_a_url(secret: str, scheme: str) -> None:
    for url in (f"{scheme}://me:{secret}@host:5432/nas", f"nas search --storage '{scheme}://me:{secret}@host/nas' x=1"):
        hidden = hide_passwords(url)
        assert hidden == url.replace(f":{secret}@", ":***@")


@pytest.mark.parametrize("key", ["password", "PASSWORD", "sslpassword", "passwd"])
def test_nor_in_its_options(key: str) -> None:
    assert hide_passwords(f"postgresql://host/nas?{key}=abc&x=1") == f"postgresql://host/nas?{key}=***&x=1"


@pytest.mark.parametrize(
    "text", ["sqlite:///runs/nas.db", "http://host:80/a", "postgresql://me@host:5432/nas", "a@b: c", "ssh://me@host:22"]
)
def test_what_has_none_is_left_as_it_is(text: str) -> None:
    assert hide_passwords(text) == text


@settings(deadline=None)
@given(SECRET)
def test_hydra_gets_a_typed_url_without_and_the_job_with(secret: str) -> None:
    url = f"postgresql://me:{secret}@host/nas"
    for words in (["--storage", url], [f"--storage={url}"], [f"storage={url}"]):
        arguments, typed = without_passwords(hydra_arguments(VERBS["worker"], parse(words, VERBS["worker"].flags)))
        assert arguments == ["storage='postgresql://me:***@host/nas'"]
        assert typed == {"postgresql://me:***@host/nas": url}


def test_a_run_uses_it_and_keeps_it_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    used: list[str | None] = []

    def search(request: SearchRequest, folder: Path, listener: Listener, command: str) -> None:
        used.append(request.storage)
        (folder / "kept.txt").write_text(command)
        raise Failure(f"{request.storage} is away")

    def work(url: str, *others: object, **settings: object) -> int:
        used.append(url)
        return 0

    monkeypatch.setattr("nas.evaluation.storage.Database", lambda url: used.append(url))
    monkeypatch.setattr("nas.evaluation.worker.work", work)
    monkeypatch.setattr("nas.cli.verbs.search.search", search)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["nas"])
    url = "postgresql://me:hunter2@host/nas"
    words = ["search", "--device", "pixel", "--macs", "90%", "--data", "digits", "--storage", url]
    for extra in (["--out", "found"], ["-m"], ["-m", "seed=0,1"]):
        assert main([*words, *extra]) == 1
    assert main(["worker", "--storage", url, "-m", "threads=1,2"]) == 0
    assert set(used) == {url}
    assert len(used) == 10
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path
    said = capfd.readouterr()
    assert "hunter2" not in said.out + said.err
    assert "me:***@host" in (tmp_path / "found" / "settings.json").read_text()
    assert main([*words, "--out", "found"]) == 1  # the same run, typed again
    assert "me:***@host/nas is away" in capfd.readouterr().err
    assert main(["search", "--resume", "found"]) == 2
    assert "again, with its password" in capfd.readouterr().err
