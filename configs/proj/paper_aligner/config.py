"""configs/puppet.py with the paper's aligner, its only difference.

    dualdub train --config paper_aligner --workdir runs/paper_aligner
    dualdub train --config paper_aligner:tiny --workdir runs/paper_tiny    # minutes

Each attention can be switched off: `…:PaperAligner(speech_from_video=False)`.
"""

from ml_collections import ConfigDict

from dualdub_jax.configs import puppet

ALIGNER = "dualdub_jax.configs.proj.paper_aligner.paper_aligner:PaperAligner"


def get_config(arg: str = "") -> ConfigDict:
    config = puppet.get_config(arg)
    config.name = config.name.replace("puppet", "paper_aligner")
    config.model.aligner.kind = ALIGNER
    return config
