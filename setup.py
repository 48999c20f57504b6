"""Build entry; metadata is in pyproject.toml, the C++ build in CMakeLists.txt."""

from setuptools import setup

setup(cmake_source_dir=".")
