"""What the kernel tests share."""

import pytest

from distrib.kernels import cpu


@pytest.fixture
def kernels() -> None:
    """The extension must be there: a build without it runs no kernel test."""
    assert cpu.available(), cpu.build_info()
