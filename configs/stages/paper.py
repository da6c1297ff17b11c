"""The paper's curriculum: video → background; and text → speech; and video, text and voice → both.

    stage         tasks, by dataset                         what its examples lack
    video_audio   vggsound: video → background              speech, script (the prompt instead), voice (zeros)
    text_speech   libritts: text → speech, with stage 1's   video (zeros), background
    soundtrack    v2c_animation, anim400k: both, with those of stages 1 and 2

Source: the paper's section on training. Each stage keeps the datasets of those before it. Unstated, our
choice: tasks alternate by example, in each batch in equal numbers; "40 epochs" are of the stage's new
datasets, so that the number of steps follows from their hours and their share of the batch.
"""

import dataclasses

BATCH_SIZE, NUM_EPOCHS = 192, 40


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A dataset of the paper and its size.

    Attributes:
        name: of the dataset.
        hours: of the paper's Table 1.
        clip_s: mean length of a clip.
        drop: what its task lacks.
    """

    name: str
    hours: float
    clip_s: float
    drop: tuple[str, ...] = ()

    @property
    def num_clips(self) -> float:
        return self.hours * 3600 / self.clip_s


# Mean lengths are those of the published corpora. The paper's 100 h of private pairs are not public.
SOUNDS = Corpus("vggsound", 500, 10.0, ("speech", "script", "voice"))
SPEECH = Corpus("libritts", 550, 5.6, ("video", "background"))
FILMS = (Corpus("anim400k", 100, 6.4), Corpus("v2c_animation", 5, 2.65))


def get_stages(optimizer: dict, freeze_aligner: bool = False) -> list[dict]:
    """The three stages.

    Args:
        optimizer: keys that they share.
        freeze_aligner: the aligner's attentions are not trained before the last stage; with
            `paper(starts_at_zero=True)` they are zero until then. The paper's formulas of stages 1 and 2 have
            the aligner's parameters, while its text says that stage 3 integrates it.
    """
    stages = [
        _stage("video_audio", [(SOUNDS, 1.0)], [SOUNDS], optimizer, peak=2e-4, final=2e-6),
        _stage("text_speech", [(SOUNDS, 0.5), (SPEECH, 0.5)], [SPEECH], optimizer, peak=2e-4, final=2e-7),
        _stage(
            "soundtrack",
            # Films by their clips; replayed datasets in equal parts.
            [*((film, _share(film)) for film in FILMS), (SOUNDS, 0.25), (SPEECH, 0.25)],
            FILMS,
            optimizer,
            peak=2e-5,
            final=2e-7,
        ),
    ]
    if freeze_aligner:
        for stage in stages[:-1]:
            stage["freeze"] = ["aligner/attend_.*"]
    return stages


def _stage(name: str, mixture: list, new: list, optimizer: dict, peak: float, final: float) -> dict:
    share = sum(weight for corpus, weight in mixture if corpus in new)
    ratio = round(final / peak, 6)
    ratios = {"initial_learning_rate_ratio": ratio, "final_learning_rate_ratio": ratio}
    return {
        "name": name,
        "mixture": [
            {"name": corpus.name, "weight": round(weight, 4), "drop": list(corpus.drop)}
            for corpus, weight in mixture
        ],
        "batch_size": BATCH_SIZE,
        # 37,500; 147,321 and 26,268 steps.
        "num_steps": round(NUM_EPOCHS * _clips(new) / (BATCH_SIZE * share)),
        # "2e-6 to 2e-4" is read as a warm-up from the lower to the higher rate and a decay back to the lower.
        "optimizer": {**optimizer, "learning_rate": peak, **ratios},
    }


def _share(film: Corpus) -> float:
    return 0.5 * film.num_clips / _clips(FILMS)


def _clips(corpora: list) -> float:
    return sum(corpus.num_clips for corpus in corpora)
