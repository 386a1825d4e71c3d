"""What samplers draw: PyTorch's numbers from a generator, as plain Python integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .... import random
from ....dtypes import F8, I8, Array
from ....random import Generator, fill, sampling
from ....tensor import Tensor, wrap


def seed(generator: Generator | None) -> int:
    """One draw of ``torch.empty((), dtype=torch.int64).random_(generator=generator).item()``."""
    out = np.empty((), I8)
    fill.random(out, None, None, random.choose(generator))
    return int(out)


def seeded_generator(seed: int) -> Generator:
    """A new generator with a seed."""
    return Generator().manual_seed(seed)


def private_generator() -> Generator:
    """A new generator whose seed is one draw of the default one."""
    return seeded_generator(seed(None))


def permutation(n: int, generator: Generator | None) -> list[int]:
    """``torch.randperm(n, generator=generator).tolist()``."""
    order: list[int] = sampling.permutation(n, I8, random.choose(generator)).tolist()
    return order


def integers(high: int, count: int, generator: Generator | None) -> list[int]:
    """``torch.randint(high, (count,), generator=generator).tolist()``."""
    out = np.empty(count, I8)
    fill.random(out, 0, high, random.choose(generator))
    drawn: list[int] = out.tolist()
    return drawn


def as_float64(weights: Any) -> Tensor:
    """Weights as a float64 tensor."""
    a: Array = weights._a if isinstance(weights, Tensor) else np.asarray(weights)
    return wrap(np.asarray(a, F8))


def multinomial(
    weights: Tensor, count: int, replacement: bool, generator: Generator | None
) -> list[int]:
    """``torch.multinomial(weights, count, replacement, generator=generator).tolist()``."""
    drawn: list[int] = sampling.multinomial(
        weights._a, count, replacement, random.choose(generator)
    ).tolist()
    return drawn
