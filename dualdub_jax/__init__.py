"""DualDub in JAX: video to soundtrack.

The public API, with everything heavy imported when it is first used:

    import dualdub_jax

    model = dualdub_jax.load()  # the bundled checkpoint, or the path of a bundle
    soundtrack = model.dub("film.mp4", script="lay blue at e nine soon", voice="voice.wav")
    soundtrack.speech, soundtrack.background, soundtrack.mix  # float32[S], exactly as long as the film
    soundtrack.write("dubbed.mp4", stems="stems/", report="report.html")
"""

import os
from typing import TYPE_CHECKING

from dualdub_jax.errors import UserError

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from dualdub_jax.dubbing.dub import DualDub

__all__ = ["UserError", "__version__", "load"]

__version__ = "0.1.0"


def load(
    path: os.PathLike[str] | str | None = None,
    *,
    mesh: "Mesh | None" = None,
    allow_code: bool = False,
    use_codec_decoders: bool = False,
) -> "DualDub":
    """Loads a model.

    Args:
        path: a bundle, as orbax or safetensors, on a local disk or an object store (docs/export.md); None:
            the bundled checkpoint.
        mesh: devices to shard the model over (`dualdub_jax.parallel.mesh.make_mesh`); None: the first one.
        allow_code: import classes outside of this package that the bundle's config names, which runs them.
        use_codec_decoders: decode waveforms with the codecs' own decoders, whatever the bundle has.

    Raises:
        UserError: the folder is missing, is not a checkpoint, is damaged, or names code outside of this
            package.
    """
    from dualdub_jax.bundles.bundle import default_bundle_path
    from dualdub_jax.dubbing.dub import DualDub
    from dualdub_jax.dubbing.engine import Engine
    from dualdub_jax.stores.path import as_path

    directory = default_bundle_path() if path is None else as_path(path)
    engine = Engine.from_bundle(
        directory, mesh=mesh, allow_code=allow_code, use_codec_decoders=use_codec_decoders
    )
    return DualDub(engine, directory)
