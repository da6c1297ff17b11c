"""configs/puppet.py with another aligner; that is the only difference.

    dualdub train --config configs/proj/example/config.py --workdir runs/example
    dualdub train --config configs/proj/example/config.py:tiny --workdir runs/example_tiny     # minutes

The window is a size of the class, so a sweep needs no new file:

    --config.model.aligner.mutual='configs.proj.example.windowed_aligner:WindowedMutualAligner(window_frames=5)'
"""

from ml_collections import ConfigDict

from configs import puppet

ALIGNER = "configs.proj.example.windowed_aligner:WindowedMutualAligner"


def get_config(arg: str = "") -> ConfigDict:
    config = puppet.get_config(arg)
    config.name = config.name.replace("puppet", "example")
    config.model.aligner.mutual = f"{ALIGNER}(window_frames=25)"
    return config
