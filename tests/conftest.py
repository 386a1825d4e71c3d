"""What every test runs under: the same seed, and nothing left behind.

The timer of each test is pytest-timeout's (``timeout`` in pyproject.toml); it prints the stacks of
all threads. Should the interpreter itself be stuck, ``faulthandler_timeout`` prints them before.
"""

import gc
import os
import threading

import pytest

import distrib
from distrib import random

ENVIRONMENT = ("DISTRIB_", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "OMP_NUM_THREADS")
CACHES = {"__pycache__", "build", "htmlcov"}


def left_in(folder):
    """The names in a folder that are nobody's cache."""
    return {name for name in os.listdir(folder) if name not in CACHES and name[0] != "."}


def state():
    """What a test must leave as it was."""
    folder = os.getcwd()
    return {
        "working directory": folder,
        "files in the working directory": left_in(folder),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(ENVIRONMENT)},
        "default dtype": distrib.get_default_dtype(),
        "default device": distrib.get_default_device(),
        "gradient mode": distrib.is_grad_enabled(),
        "inference mode": distrib.is_inference_mode_enabled(),
        "threads": {
            t for t in threading.enumerate() if not t.daemon and "pytest_timeout" not in t.name
        },
    }


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    random.manual_seed(0)
    before = state()
    yield
    after = state()
    if before != after:
        gc.collect()
        after = state()
    changed = [f"{k}: {before[k]} -> {after[k]}" for k in before if before[k] != after[k]]
    assert not changed, "the test left behind: " + "; ".join(changed)
