"""Tools around training: loading data, recomputing activations."""

from . import checkpoint, data

__all__ = ["checkpoint", "data"]
