"""Every choice that can be typed composes into a configuration of the types it should have."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import conf
from nas.cli.config import SCHEMAS
from nas.cli.verb import VERBS
from nas.training.recipe import Recipe
from search_spaces import SPACES, get_space

CONF = Path(conf.__file__).parent


@pytest.fixture(autouse=True)
def hydra():
    for name, schema in SCHEMAS.items():
        ConfigStore.instance().store(name=f"{name}_schema", node=schema)
    with initialize_config_module("conf", version_base="1.3"):
        yield


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_configuration_of_its_own_type(verb):
    assert OmegaConf.get_type(compose(verb)) is SCHEMAS[verb]


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_chosen(name):
    options = compose("train", [f"space={name}"]).space
    space = get_space(**OmegaConf.to_container(options))
    assert space.name.startswith(name)


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
