"""configs/puppet.py with a windowed aligner, its only difference.

    dualdub train --config windowed_aligner --workdir runs/windowed
    dualdub train --config windowed_aligner:tiny --workdir runs/windowed_tiny    # minutes

The window is a size of the class, set in the config: `…:WindowedAligner(window_frames=5)`.
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import puppet

ALIGNER = "dualdub_jax.configs.proj.windowed_aligner.windowed_aligner:WindowedAligner"


def get_config(arg: str = "") -> ConfigDict:
    config = puppet.get_config(arg)
    config.name = config.name.replace("puppet", "windowed_aligner")
    config.model.aligner.kind = f"{ALIGNER}(window_frames=25)"
    return config
