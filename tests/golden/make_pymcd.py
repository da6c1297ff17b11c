"""Writes `pymcd.json`: what pymcd and pysptk say of two buzzing sentences. Run by hand, not by the tests.

pysptk compiles C, so this needs an environment of its own:

    pip install numpy scipy cython setuptools wheel librosa fastdtw pyworld-prebuilt hibari-tts
    pip install --no-build-isolation pysptk==1.0.1 && pip install --no-deps pymcd==0.2.1
    python -m tests.golden.make_pymcd
"""

import json
import pathlib
import tempfile

import numpy as np
import soundfile

from tests.golden.buzzing_sentences import SAMPLE_RATE_HZ, made_and_true


def main() -> None:
    import pymcd.mcd
    import pysptk
    import pyworld

    made, true = made_and_true()
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(pathlib.Path(folder) / name) for name in ("true.wav", "made.wav")]
        for path, samples in zip(paths, (true, made), strict=True):
            soundfile.write(path, samples, SAMPLE_RATE_HZ, subtype="FLOAT")
        for mode in ("plain", "dtw", "dtw_sl"):
            figures[mode] = pymcd.mcd.Calculate_MCD(MCD_mode=mode).calculate_mcd(*paths)
        # The same with a radius at which fastdtw's shortcut leaves nothing out.
        shortcut = pymcd.mcd.fastdtw
        pymcd.mcd.fastdtw = lambda x, y, dist: shortcut(x, y, radius=len(x) + len(y), dist=dist)
        for mode in ("dtw", "dtw_sl"):
            figures[f"{mode}_exact"] = pymcd.mcd.Calculate_MCD(MCD_mode=mode).calculate_mcd(*paths)
    cepstra = []
    for samples in (made, true):
        wave = samples.astype(np.float64)
        rough_hz, times_s = pyworld.dio(wave, SAMPLE_RATE_HZ)
        pitch_hz = pyworld.stonemask(wave, rough_hz, times_s, SAMPLE_RATE_HZ)
        power = pyworld.cheaptrick(wave, pitch_hz, times_s, SAMPLE_RATE_HZ)
        cepstra.append(pysptk.sp2mc(power + 1e-10, 23, 0.42))
    golden = {
        "pymcd": figures,
        "sp2mc_frame": 60,
        "sp2mc": [[round(float(c), 9) for c in cepstrum[60]] for cepstrum in cepstra],
    }
    (pathlib.Path(__file__).parent / "pymcd.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
