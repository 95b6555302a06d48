"""Metadata and dependencies; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

DEMOS = ["matplotlib>=3.8", "scikit-learn>=1.4", "threadpoolctl>=3.1"]
TEST = [*DEMOS, "pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100"]

setup(
    name="tinygen",
    version="0.1.0",
    description="A readable reverse-mode autograd engine over NumPy or CuPy, and generative models built on it",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[*find_packages(include=["tinygen", "tinygen.*"]), "tinygen.demos"],
    package_dir={"tinygen.demos": "demos"},
    package_data={"tinygen": ["py.typed", "data/*.gz", "plot/*.html"], "tinygen.demos": ["*.safetensors"]},
    install_requires=["numpy>=2.0", "scipy>=1.13", "tqdm>=4.66", "safetensors>=0.4"],
    extras_require={
        "demos": DEMOS,
        "test": TEST,
        "dev": [*TEST, "ruff>=0.6", "mypy>=1.11"],
        "cuda12x": ["cupy-cuda12x[ctk]>=14"],
        "cuda13x": ["cupy-cuda13x[ctk]>=14"],
        "mpi": ["mpi4py>=4", "mpich"],
    },
    entry_points={"console_scripts": ["tinygen = tinygen.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
