"""Kernels: arrays in, arrays out; knows no Tensor.

>>> from distrib import kernels
>>> kernels.isa() in ("v4", "v3", "base", "none")
True
"""

from distrib.kernels.cpu import available, build_info, install_allocator, isa

__all__ = ["available", "build_info", "install_allocator", "isa"]
