"""The shipped recipes by name, read from their YAML files without Hydra."""

from importlib.resources import files
from importlib.resources.abc import Traversable

import yaml

from nas.training.recipe import Recipe


def _folder() -> Traversable:
    """Where the files are: one for each recipe, named after it."""
    return files("conf") / "recipe"


def recipe_names() -> list[str]:
    """The names of the shipped recipes."""
    return sorted(file.name.removesuffix(".yaml") for file in _folder().iterdir() if file.name.endswith(".yaml"))


def load_recipe(name: str) -> Recipe:
    """The shipped recipe of that name.

    Raises
    ------
    ValueError : there is none.
    """
    if name not in recipe_names():
        raise ValueError(f"unknown recipe {name!r}; known: {', '.join(recipe_names())}")
    return Recipe.from_dict(yaml.safe_load((_folder() / f"{name}.yaml").read_text(encoding="utf-8")))
