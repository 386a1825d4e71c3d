"""The least that a collective needs of a tensor: an array, and to be told when it was written."""

import numpy as np

from distrib.meta import MetaArray


class Box:
    """Carries an array as tensors do."""

    def __init__(self, array):
        self._a = array if isinstance(array, MetaArray) else np.asarray(array)
        self.num_bumps = 0

    def _bump(self):
        self.num_bumps += 1
