"""Fixtures shared by all tests."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

settings.register_profile("pycryo", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("pycryo")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, new for each test."""
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The maintainers' folder of test data beside the project; tests that want it are skipped in a user's clone."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the maintainers' data folder is not here")
    return folder
