"""Packaging: what Dataflow workers install, and the extras of a development machine."""

from setuptools import find_packages, setup

setup(
    name="hourly-ad-report",
    version="0.1.0",
    description="Advertising events in, an hourly report as CSV out: an Apache Beam pipeline, batch and streaming",
    packages=find_packages(include=["pipeline", "pipeline.*"]),
    package_data={"pipeline.serving": ["page/*", "openapi.json"]},
    python_requires=">=3.10",
    install_requires=[
        "apache-beam>=2.70,<3",
        "isal>=1.7,<2",
        "llvmlite>=0.44",
        "numba>=0.61",
        "numpy>=1.26,<3",
        "pyarrow>=16",
        "tqdm>=4.60,<5",
    ],
    extras_require={
        "server": ["bottle>=0.13,<0.14", "waitress>=3,<4"],
        "gcp": ["apache-beam[gcp]"],
        "aws": ["apache-beam[aws]"],
        "test": ["hypothesis>=6.100", "mypy>=1.15", "pytest>=8", "pytest-xdist>=3.6", "ruff>=0.11"],
    },
)
