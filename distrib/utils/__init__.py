"""Tools around training: loading data."""

from . import data

__all__ = ["data"]
