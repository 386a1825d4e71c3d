"""A parameter that fires hooks as a leaf does: the reducer without the autograd engine."""

import numpy as np


class Value:
    """A tensor that does nothing."""

    def __init__(self, array):
        self._a = array


class Param(Value):
    """An array, a gradient that adds up, and hooks that fire after it has."""

    def __init__(self, array):
        super().__init__(np.asarray(array))
        self.grad, self.hooks, self.requires_grad = None, [], True

    def register_post_accumulate_grad_hook(self, hook):
        self.hooks.append(hook)

    def accumulate(self, grad):
        """What a backward does to a leaf."""
        if self.grad is None:
            self.grad = Value(np.array(grad, self._a.dtype))
        else:
            self.grad._a += grad
        for hook in self.hooks:
            hook(self)
