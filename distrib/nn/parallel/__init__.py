"""Modules that train on several ranks."""

from distrib.nn.parallel.data_parallel import DataParallel
from distrib.nn.parallel.distributed import DistributedDataParallel

__all__ = ["DataParallel", "DistributedDataParallel"]
