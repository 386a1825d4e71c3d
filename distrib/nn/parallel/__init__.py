"""Modules that train on several ranks."""

from distrib.nn.parallel.distributed import DistributedDataParallel

__all__ = ["DistributedDataParallel"]
