import pytest

from nas.cli.arguments import hydra_arguments, recorded_settings
from nas.cli.config import SETTINGS, SearchConfig, text_keys
from nas.cli.flags import FLAGS, parse, quote
from nas.cli.verb import VERBS, usage
from nas.pipeline.request import Limits
from nas.pipeline.settings import RunSettings

ALL = tuple(FLAGS)


def test_named_flags_become_overrides_and_hydra_flags_come_apart():
    line = parse(["--device", "cpu", "seed=3", "-m", "--latency=10ms,20ms", "a.b=1"], ALL)
    assert line.hydra == ["-m"]
    assert line.overrides == ["seed=3", "a.b=1", "device=cpu", "budget.latency=10ms,20ms"]


def test_threads_are_those_of_an_inference_where_nothing_is_trained():
    assert parse(["--threads", "2"], VERBS["measure"].flags).overrides == ["device_threads=2"]
    with pytest.raises(ValueError, match="type --device-threads N"):
        parse(["--threads", "2"], VERBS["search"].flags)


def test_commas_sweep_only_with_m_and_only_where_values_stand_alone():
    assert parse(["--device", "a,b"], ALL).overrides == ["device='a,b'"]
    assert parse(["--device", "a,b", "-m"], ALL).overrides == ["device=a,b"]
    swept = parse(["-m", "--device", "a,b", "--latency", "1ms,2ms", "--shared"], ALL).overrides
    assert swept == ["device='a,b'", "budget.latency=1ms,2ms", "shared=true"]
    assert parse(["-m", "--latency", "a=1ms,b=2ms"], ALL).overrides == ["budget.latency='a=1ms,b=2ms'"]


@pytest.mark.parametrize(
    ("value", "quoted"), [("20ms", "20ms"), ("60%", "60%"), ("20µs", "'20µs'"), ("<20ms", "'<20ms'"), ("a b", "'a b'")]
)
def test_values_that_hydra_cannot_read_are_quoted(value, quoted):
    assert quote(value) == quoted
    assert parse(["--latency", value], ALL).overrides == [f"budget.latency={quoted}"]


def test_data_may_be_a_name_or_a_folder(tmp_path):
    assert parse(["--data", "digits"], ALL).overrides == ["data=digits"]
    assert parse(["--data", str(tmp_path)], ALL).overrides == ["data=folder", f"data.root={tmp_path}"]
    assert parse(["--data", "./not there"], ALL).overrides == ["data=folder", "data.root='./not there'"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--latncy", "20ms"], "did you mean --latency"),
        (["--nonsense"], "known: --device"),
        (["--latency"], "--latency needs a value"),
        (["--latency", "--json"], "--latency needs a value"),
        (["--latency="], "--latency needs a value"),
        (["-x"], "unknown flag -x"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        parse(words, ALL)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        (["--latency", "2ms"], True),
        (["--device", "pixel", "seed=1"], True),
        (["--supernet", "runs/train/mine"], False),
        (["--data", "digits"], False),
        (["space.depths=[1]"], False),
        (["recipe.epochs=3"], False),
        (["--train-time", "20min"], False),
        (["experiment=demo"], False),
        (["experiment=slurm", "-m"], True),
        (["experiment=slurm,demo", "-m"], False),
        (["--resolution", "24"], False),
        (["--evaluations", "200", "--storage", "sqlite:///runs/nas.db"], True),
    ],
)
def test_a_search_that_says_nothing_of_its_start_takes_the_shipped_supernet(words, begins, tmp_path, monkeypatch):
    search = VERBS["search"]
    monkeypatch.setattr("nas.shipped.FOLDER", tmp_path)
    assert "supernet=cifar10" not in hydra_arguments(search, parse(words, search.flags))  # none is shipped
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "supernet.json").touch()
    assert ("supernet=cifar10" in hydra_arguments(search, parse(words, search.flags))) == begins


@pytest.mark.parametrize(
    "start",
    [{"init": "efficientnet_lite0"}, {"model": "my.module:f"}, {"supernet": "x"}, {"storage": "mysql://elsewhere/x"}],
)
def test_a_former_search_answers_whatever_it_started_from(start, tmp_path):
    RunSettings("search", SearchConfig(seed=3, **start)).write(tmp_path)
    search = VERBS["search"]
    recorded = recorded_settings(search, parse(["--from", str(tmp_path), "--latency", "50%"], search.flags))
    asked = recorded.with_typed(SearchConfig(former="x", budget=Limits(latency="50%")), ["former", "budget.latency"])
    assert (asked.former, asked.budget.latency, asked.seed) == ("x", "50%", 3)
    assert all(getattr(asked, key) is None for key in start)


def test_a_verb_without_a_run_folder_takes_no_place_for_it():
    assert {name for name, verb in VERBS.items() if "out" in verb.flags and not verb.run_folder} == {"export"}
    with pytest.raises(ValueError, match="unknown flag --out; known: none here"):
        parse(["RUN", "--out", "elsewhere"], VERBS["report"].flags)


def test_help_says_what_a_flag_means_in_its_verb():
    lines = {
        name: {words[0]: line for line in usage(verb).splitlines() if (words := line.split())}
        for name, verb in VERBS.items()
    }
    assert "auto" in lines["search"]["--precision"]
    assert "auto" not in lines["export"]["--precision"]
    assert lines["export"]["--out"].endswith("(default: RUN itself)")
    for name in ("measure", "fit"):
        assert "NAME[,NAME]" not in lines[name]["--device"]
    assert all(verb.helps.keys() <= set(verb.flags) for verb in VERBS.values())


@pytest.mark.parametrize("verb", VERBS)
def test_a_flag_is_text_where_its_setting_is(verb):
    for name in VERBS[verb].flags:
        flag = FLAGS[name]
        if flag.key and flag.key != "space":  # names a group
            assert flag.text == (flag.key in text_keys(SETTINGS[verb])), name
