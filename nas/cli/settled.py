"""What ``--cfg job`` does not show: settings that follow from the images, or from the supernet, once these are read."""

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nas.cli.config import SETTINGS
from nas.cli.overrides import parse_override, typed_recipe
from nas.pipeline.photographs import with_usual_start
from nas.pipeline.request import TrainRequest
from nas.pipeline.settings import by_key, from_plain, to_plain
from nas.shipped.conf import CONF, set_by_experiment


def what_follows(verb: str, overrides: Sequence[str]) -> str:
    """What a run would take instead of what ``--cfg job`` shows, as ``key=value``; empty where that is all.

    Parameters
    ----------
    overrides : as Hydra gets them.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(verb, overrides=list(overrides), return_hydra_config=True)
    experiment = config.hydra.runtime.choices.get("experiment")
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain: Any = OmegaConf.to_container(own, resolve=True)
    try:
        settings: Any = from_plain(SETTINGS[verb], plain)
        if not isinstance(settings, TrainRequest):
            return ""
        typed = [parse_override(text).key_or_group for text in overrides]
        given = [*typed, *(set_by_experiment(experiment) if "experiment" in typed else ())]
        made, sentence = with_usual_start(settings, given, typed_recipe(plain["recipe"], typed))
    except ValueError:  # that is said when it is run
        return ""
    before, after = (by_key(to_plain(each)) for each in (settings, made))
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    if not changed:
        return ""
    recipe = [f"recipe={changed.pop('recipe.name')}"] if "recipe.name" in changed else []
    short = [
        f"{key}={value}" for key, value in changed.items() if key != "recipe.paper" and not isinstance(value, list)
    ]
    return f"{sentence}\nin place of what is shown, the run takes: {' '.join([*recipe, *short])}".strip()
