"""The configuration for SLURM composes into jobs of Hydra's submitit launcher."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from nas.cli.app import register_settings
from nas.shipped.conf import CONF

pytest.importorskip(
    "hydra_plugins.hydra_submitit_launcher", reason="needs the extra slurm: pip install 'shrinkwrap-nas[slurm]'"
)


def test_sweep_over_recipes_is_a_set_of_slurm_jobs() -> None:
    register_settings()
    overrides = ["experiment=slurm", "recipe=deps", "seed=2", "hydra.launcher.partition=gpu"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=overrides, return_hydra_config=True)
    OmegaConf.set_readonly(config.hydra, False)
    config.hydra.job.config_name = "train"  # which the launcher knows and `compose` does not
    launcher = OmegaConf.to_container(config.hydra.launcher, resolve=False)
    assert isinstance(launcher, dict)
    assert launcher["_target_"].endswith("SlurmLauncher")
    assert launcher["partition"] == "gpu"
    assert launcher["max_num_timeout"] > 0
    assert config.hydra.launcher.name == "nas-train"
    assert config.recipe.name == "deps"
    assert config.seed == 2
