"""The public models whose weights `dualdub convert` takes: their pages and licences, for messages and docs.

docs/weights.md shows this table. No weights of them are part of this package.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class PublicModel:
    """A public model, or a family of one architecture.

    Attributes:
        title: its published name.
        page: where its weights are published.
        licence: of the weights, as stated on that page.
        is_commercial: whether the licence permits commercial use.
        used_as: the config key that takes the converted folder.
    """

    title: str
    page: str
    licence: str
    is_commercial: bool
    used_as: str


PUBLIC_MODELS: dict[str, PublicModel] = {
    "wavtokenizer": PublicModel(
        "WavTokenizer-large-unify-40token",
        "huggingface.co/novateur/WavTokenizer-large-unify-40token",
        "MIT",
        True,
        "streams.<stream>.codec = {kind: wavtokenizer, path: DIR}",
    ),
    "dac": PublicModel(
        "DAC",
        "huggingface.co/descript/dac_44khz",
        "MIT",
        True,
        "streams.<stream>.codec = {kind: dac, path: DIR}",
    ),
    "mimi": PublicModel(
        "Mimi",
        "huggingface.co/kyutai/mimi",
        "CC BY 4.0",
        True,
        "streams.<stream>.codec = {kind: mimi, path: DIR}",
    ),
    "clip": PublicModel(
        "CLIP ViT-B/32",
        "huggingface.co/openai/clip-vit-base-patch32",
        "MIT",
        True,
        "video_features.extractor = clip(path='DIR')",
    ),
    "siglip": PublicModel(
        "SigLIP 2 B/16",
        "huggingface.co/google/siglip2-base-patch16-224",
        "Apache-2.0",
        True,
        "video_features.extractor = siglip(path='DIR')",
    ),
    "oobleck": PublicModel(
        "Stable Audio Open 1.0 (its autoencoder)",
        "huggingface.co/stabilityai/stable-audio-open-1.0",
        "Stability AI Community License, gated",
        False,
        "streams.<stream>.decoder = {kind: flow_matching, target: oobleck, path: DIR}",
    ),
    "cnn14": PublicModel(
        "PANNs Cnn14 (Cnn14_16k_mAP=0.438.pth, or Cnn14_mAP=0.431.pth at 32 kHz)",
        "zenodo.org/records/3987831",
        "CC BY 4.0",
        True,
        "dualdub evaluate --protocol paper --weights PARENT, with DIR = PARENT/cnn14",
    ),
    "vggish": PublicModel(
        "VGGish (vggish-10086976.pth)",
        "github.com/harritaylor/torchvggish/releases",
        "Apache-2.0",
        True,
        "dualdub evaluate --protocol paper --weights PARENT, with DIR = PARENT/vggish",
    ),
    "utmos": PublicModel(
        "UTMOS strong learner (utmos22_strong_step7459_v1.pt)",
        "github.com/tarepan/SpeechMOS/releases",
        "MIT",
        True,
        "dualdub evaluate --protocol paper --weights PARENT, with DIR = PARENT/utmos",
    ),
    "wavlm_sv": PublicModel(
        "WavLM base+ for speaker verification",
        "huggingface.co/microsoft/wavlm-base-plus-sv",
        "CC BY-SA 3.0 (github.com/microsoft/UniSpeech)",
        True,
        "dualdub evaluate --protocol paper --weights PARENT, with DIR = PARENT/wavlm_sv",
    ),
}


def how_to_get(kind: str) -> str:
    """The end of a message about missing weights: where they are, their licence, and the command."""
    model = PUBLIC_MODELS[kind]
    return (
        f"get {model.title} ({model.licence}) from {model.page} and run: dualdub convert FILE DIR, "
        "then name DIR"
    )
