"""Where random words come from: the MT19937 engine, in C++ where it is built, else NumPy's.

A source is one stream of 32-bit words: ``words(n)``. Its state is the 624-word key and the position
of the next word; both engines hold the same, so a stream may change engines at any word.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..config import get as _setting
from ..dtypes import Array

KEY = 624  # words in the key of MT19937
STATE_BYTES = 5056  # PyTorch's state of a CPU generator, with its legacy fields

# What PyTorch writes, in its order; between these fields lie old ones that stay zero on a CPU.
LAYOUT = np.dtype(
    {
        "names": ["seed", "left", "seeded", "next", "key", "normal", "valid"],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", KEY), "<f8", "<i4"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040],
        "itemsize": STATE_BYTES,
    }
)


class Source(Protocol):
    """One stream of 32-bit words and the kernels, if any, that draw from it directly."""

    kernel: Any  # the module of ``mt_`` functions, or None
    state: Any  # what they take

    def seed(self, value: int) -> None:
        """Start as ``init_genrand(value mod 2**32)``."""

    def words(self, n: int) -> Array:
        """The next n words, uint32."""

    def get(self) -> tuple[Array, int]:
        """A copy of the key (uint32, 624) and the position of the next word, 0..624."""

    def set(self, key: Array, position: int) -> None:
        """Continue from a key and position."""


class NumpyWords:
    """The engine of ``numpy.random``, which costs a millisecond of import at the first draw."""

    kernel: Any = None
    state: Any = None

    def __init__(self) -> None:
        from numpy import random

        self._bits = random.MT19937(0)
        self._many = random.Generator(self._bits)
        self._seeded = random.RandomState(self._bits)

    def seed(self, value: int) -> None:
        """Start as ``init_genrand(value mod 2**32)``."""
        self._seeded.seed(value & 0xFFFFFFFF)

    def words(self, n: int) -> Array:
        """The next n words, uint32."""
        if n < 4096:  # cheaper call, but twice the memory
            return self._bits.random_raw(n).astype(np.uint32)
        return self._many.integers(0, 1 << 32, n, dtype=np.uint32)

    def get(self) -> tuple[Array, int]:
        """A copy of the key (uint32, 624) and the position of the next word, 0..624."""
        state: Any = self._bits.state["state"]
        return np.asarray(state["key"], dtype=np.uint32).copy(), int(state["pos"])

    def set(self, key: Array, position: int) -> None:
        """Continue from a key and position."""
        self._bits.state = {
            "bit_generator": "MT19937",
            "state": {"key": np.asarray(key, dtype=np.uint32), "pos": position},
        }


class KernelWords:
    """The C++ engine: its state is the key and the position, uint32 [625]."""

    def __init__(self, kernel: Any) -> None:
        self.kernel: Any = kernel
        self.state: Any = np.empty(KEY + 1, np.uint32)

    def seed(self, value: int) -> None:
        """Start as ``init_genrand(value mod 2**32)``."""
        self.kernel.mt_seed(self.state, value & 0xFFFFFFFF)

    def words(self, n: int) -> Array:
        """The next n words, uint32."""
        out = np.empty(n, np.uint32)
        self.kernel.mt_words(self.state, out)
        return out

    def get(self) -> tuple[Array, int]:
        """A copy of the key (uint32, 624) and the position of the next word, 0..624."""
        return self.state[:KEY].copy(), int(self.state[KEY])

    def set(self, key: Array, position: int) -> None:
        """Continue from a key and position."""
        self.state[:KEY] = key
        self.state[KEY] = position


def make() -> Source:
    """A source on the fastest engine there is; unseeded."""
    if _setting("DISTRIB_KERNELS"):
        from ..kernels import cpu

        if cpu.available():
            return KernelWords(cpu)
    return NumpyWords()


def pack(seed: int, key: Array, position: int, fresh: bool, normal: float | None) -> Array:
    """PyTorch's 5056 bytes of a generator: seed, engine and cached normal."""
    record = np.zeros((), LAYOUT)
    record["seed"], record["seeded"], record["key"] = seed, 1, key
    record["left"] = 1 if fresh else KEY + 1 - position
    record["next"] = 0 if fresh else position
    if normal is not None:
        record["normal"], record["valid"] = normal, 1
    return np.frombuffer(bytearray(record.tobytes()), np.uint8)


def unpack(state: Array) -> tuple[int, Array, int, bool, float | None]:
    """What `pack` took; RuntimeError for what PyTorch refuses."""
    if state.size != STATE_BYTES:
        raise RuntimeError(
            f"Expected a CPUGeneratorImplState of size {STATE_BYTES} but found the input RNG state "
            f"size to be {state.size}"
        )
    record = np.frombuffer(np.ascontiguousarray(state).tobytes(), LAYOUT)[0]
    left, position = int(record["left"]), int(record["next"])
    if not (record["seeded"] == 1 and 0 < left <= KEY and position <= KEY):
        raise RuntimeError("Invalid mt19937 state")
    fresh = left == 1 and position != KEY
    normal = float(record["normal"]) if record["valid"] else None
    return int(record["seed"]), record["key"], KEY if left == 1 else position, fresh, normal
