"""False alarms and sensitivity of the ghost-speech rule, on true backgrounds and with leaked speech.

    python benchmarks/ghost_speech_rule.py --num-clips 40 --num-leaks 12

Puppet Stage clips of split test_seen: first the true backgrounds, where every word is a false alarm, then
backgrounds with the clip's speech mixed in at several relative levels. About two minutes on one core.
Requires the extras "data" and "eval". The last line is the table as JSON.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np

from dualdub_jax.data_pipeline.builders.puppet_stage.clip import Clip, make_clip
from dualdub_jax.evaluation.analysis.speech_level import at_speech_level
from dualdub_jax.evaluation.listeners import whisper
from dualdub_jax.evaluation.metrics.ghost_speech import ghost_words

_LEAK_LEVELS_DB = (10, 0, -5, -10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-clips", type=int, default=40)
    parser.add_argument("--num-leaks", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7, help="of the world")
    args = parser.parse_args()
    clips = [make_clip("hibari", "soundtrack", args.seed, "test_seen", i) for i in range(args.num_clips)]
    figures = {f"background_{name}": value for name, value in count([c.background for c in clips]).items()}
    spoken = [clip for clip in clips if clip.script][: args.num_leaks]
    for level_db in _LEAK_LEVELS_DB:
        counted = count([leaking(clip, level_db) for clip in spoken])
        figures |= {f"leak_{level_db}_db_{name}": value for name, value in counted.items()}
    for name, value in figures.items():
        print(f"{name:44s} {value:10.3f}")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))
    return 0


def leaking(clip: Clip, level_db: float) -> np.ndarray:
    """float32[S]: the background plus the clip's speech at `level_db` relative to it, by mean power."""
    gain = np.sqrt(np.mean(clip.background**2) / np.mean(clip.speech**2)) * 10 ** (level_db / 20)
    return clip.background + gain * clip.speech


def count(tracks: Sequence[np.ndarray]) -> dict[str, float]:
    """Number of clips, of clips with words, of words, and the lowest no-speech probability."""
    words = [len(ghost_words(track)) for track in tracks]
    passages = [p for track in tracks for p in whisper.transcribe(at_speech_level(track))]
    return {
        "clips": len(tracks),
        "clips_with_words": sum(number > 0 for number in words),
        "words": sum(words),
        "lowest_no_speech_probability": min(p.no_speech_probability for p in passages),
    }


if __name__ == "__main__":
    sys.exit(main())
