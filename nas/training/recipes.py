"""The shipped recipes by name, read from their YAML files without Hydra."""

from nas.shipped.conf import choices, read_choice
from nas.training.recipe import Recipe


def recipe_names() -> list[str]:
    """The names of the shipped recipes."""
    return choices("recipe")


def load_recipe(name: str) -> Recipe:
    """The shipped recipe of that name.

    Raises
    ------
    ValueError : there is none.
    """
    return Recipe.from_dict(read_choice("recipe", name))
