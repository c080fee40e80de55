"""Every choice that can be typed composes into a configuration of the types it should have."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nas.cli.app import register_settings
from nas.cli.config import SETTINGS
from nas.cli.verb import VERBS
from nas.pipeline.request import SearchRequest
from nas.pipeline.settings import from_plain
from nas.shipped.conf import CONF
from nas.training.recipe import Recipe
from search_spaces import SPACES
from search_spaces.settings import SpaceSettings


@pytest.fixture(autouse=True)
def hydra():
    register_settings()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_configuration_of_its_own_type(verb):
    config = compose(verb, ["run=x"] if VERBS[verb].positional else [])
    assert from_plain(SETTINGS[verb], OmegaConf.to_container(config, resolve=True))


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_chosen(name):
    options = OmegaConf.to_container(compose("train", [f"space={name}"]).space)
    assert SpaceSettings.from_dict(options).make().name.startswith(name)


@pytest.mark.parametrize("path", sorted((CONF / "recipe").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_chosen(path):
    recipe = Recipe.from_dict(OmegaConf.to_container(compose("train", [f"recipe={path.stem}"]).recipe))
    assert recipe.name == path.stem


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_composes(path):
    compose("search", [f"experiment={path.stem}"])


def test_a_search_is_named_by_its_supernet_or_its_images():
    assert compose("search").name == "digits"
    assert compose("search", ["supernet=runs/train/mine"]).name == "mine"


def test_a_search_from_inside_the_run_folder_is_named_by_it(tmp_path, monkeypatch):
    (tmp_path / "mine" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    assert compose("search", ["supernet=."]).name == SearchRequest(supernet=".").label == "mine"
    monkeypatch.chdir("inside")
    assert compose("search", ["supernet=.."]).name == SearchRequest(supernet="..").label == "mine"
