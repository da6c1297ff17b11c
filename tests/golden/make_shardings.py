"""Writes the golden shardings again, after a wanted change: look at the difference before keeping it.

python -m tests.golden.make_shardings
"""

import json
import pathlib

from dualdub_jax.config import MeshConfig, load_config
from dualdub_jax.tools.shardings import abstract_mesh, describe_shardings

FOLDER = pathlib.Path(__file__).parent / "shardings"
CONFIGS = pathlib.Path(__file__).parents[2] / "configs"

# File name -> config, mesh, clips.
CASES: dict[str, tuple[str, MeshConfig, int]] = {
    "puppet_data8": ("puppet", MeshConfig(data=8), 16),
    "puppet_data2_fsdp2_tensor2": ("puppet", MeshConfig(data=2, fsdp=2, tensor=2), 16),
    "small_data8": ("small", MeshConfig(data=8), 128),
    "base_data4_fsdp4": ("base", MeshConfig(data=4, fsdp=4), 256),
    "base_data4_fsdp2_tensor2_sequence2": ("base", MeshConfig(data=4, fsdp=2, tensor=2, sequence=2), 256),
    "dualdub_data2_fsdp8": ("dualdub", MeshConfig(data=2, fsdp=8), 192),
    "large_data4_fsdp16": ("large", MeshConfig(data=4, fsdp=16), 1024),
    "large_data4_fsdp8_tensor2": ("large", MeshConfig(data=4, fsdp=8, tensor=2), 1024),
    "xl_data4_fsdp16": ("xl", MeshConfig(data=4, fsdp=16), 1024),
}


def make(case: str) -> str:
    """The text of one golden file."""
    name, mesh, batch_size = CASES[case]
    described = describe_shardings(load_config(str(CONFIGS / f"{name}.py")), abstract_mesh(mesh), batch_size)
    return json.dumps(described, indent=1) + "\n"


def main() -> None:
    for case in CASES:
        (FOLDER / f"{case}.json").write_text(make(case), encoding="utf-8")
        print(FOLDER / f"{case}.json")


if __name__ == "__main__":
    main()
