"""All metadata is in pyproject.toml; this file is what Dataflow's `--setup_file` asks for."""

from setuptools import setup

setup()
