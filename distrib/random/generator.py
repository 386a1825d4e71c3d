"""Generator and the functions of the default one: PyTorch's streams, seeds and state bytes."""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..devices import device as _device
from ..devices import resolve
from ..dtypes import Array, uint8
from ..errors import DeviceError
from ..tensor import Tensor as _Tensor
from ..tensor import wrap as _wrap
from . import source as _source

DEFAULT_SEED = 67280421310721  # of a new Generator, as in PyTorch


class Generator:
    """A stream of random numbers, ``Generator(device="cpu")``: PyTorch's for each seed.

    A lock makes each draw atomic; which thread draws first is up to the threads. A generator on a
    GPU raises DeviceError.

    >>> g = Generator().manual_seed(7)
    >>> g.initial_seed(), g.device
    (7, device(type='cpu'))
    """

    __slots__ = ("__weakref__", "_fresh", "_seed", "_source", "device", "lock", "normal")

    def __init__(self, device: Any = "cpu") -> None:
        self.device = _device(device)
        if self.device.type != "cpu":
            raise DeviceError(
                f"Generator: no random stream for the device type '{self.device.type}'",
                expected="device 'cpu'",
                hint="Draw on the CPU and move the result",
            )
        self.lock = threading.RLock()
        self._source: _source.Source | None = None
        self._seed = DEFAULT_SEED
        self._fresh = True  # no word was drawn since seeding: PyTorch's bytes tell
        self.normal: float | None = None  # second half of the last pair of normals

    # ---- drawing: for the fills of this package, with the lock held -------------------------
    def source(self) -> _source.Source:
        """The engine, about to be drawn from."""
        found = self._source
        if found is None:
            found = self._source = _source.make()
            found.seed(self._seed)
        self._fresh = False
        return found

    def words(self, n: int) -> Array:
        """The next n words of 32 bits, uint32 [n]."""
        return self.source().words(n)

    # ---- PyTorch's methods -------------------------------------------------------------------
    def manual_seed(self, seed: Any) -> Generator:
        """Start again from a seed of -2**63 .. 2**64 - 1; returns the generator itself."""
        if isinstance(seed, bool) or not hasattr(seed, "__index__"):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        value = operator.index(seed)
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        with self.lock:
            self._seed = value % (1 << 64)
            self._fresh, self.normal = True, None
            if self._source is not None:
                self._source.seed(self._seed)
        return self

    def seed(self) -> int:
        """Start again from a seed of the operating system, and return it."""
        self.manual_seed(int.from_bytes(os.urandom(8), "little"))
        return self._seed

    def initial_seed(self) -> int:
        """The seed that the stream began with."""
        return self._seed

    def _bytes(self) -> Array:
        with self.lock:
            fresh = self._fresh
            key, position = self.source().get()
            self._fresh = fresh
            return _source.pack(self._seed, key, position, fresh, self.normal)

    def _restore(self, state: Array) -> None:
        seed, key, position, fresh, normal = _source.unpack(state)
        with self.lock:
            self.source().set(key, position)
            self._seed, self._fresh, self.normal = seed, fresh, normal

    def get_state(self) -> _Tensor:
        """The state as a uint8 tensor of 5056 bytes, the same bytes as PyTorch's."""
        return _wrap(self._bytes())

    def set_state(self, new_state: _Tensor) -> None:
        """Continue from a state of this library or of PyTorch; RuntimeError if it is neither."""
        self._restore(_state_array(new_state))

    def clone_state(self) -> Generator:
        """A new generator that continues as this one does."""
        other = Generator(self.device)
        other._restore(self._bytes())
        return other

    def graphsafe_get_state(self) -> Generator:
        """Not there on a CPU, as in PyTorch: raises NotImplementedError."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Generator) -> None:
        """Not there on a CPU, as in PyTorch: raises NotImplementedError."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def get_offset(self) -> int:
        """Not there on a CPU, as in PyTorch: raises RuntimeError."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """Not there on a CPU, as in PyTorch: raises RuntimeError."""
        raise RuntimeError("CPU Generator does not use offset")

    def __reduce__(self) -> tuple[Any, ...]:
        return Generator, (self.device,), (self.initial_seed(), None, self.get_state())

    def __setstate__(self, state: tuple[int, Any, _Tensor]) -> None:
        self.set_state(state[2])

    def __repr__(self) -> str:
        return f"<torch._C.Generator object at {id(self):#x}>"


def _state_array(state: Any) -> Array:
    if not isinstance(state, _Tensor):
        raise TypeError(f"expected a torch.ByteTensor, but got {type(state).__name__}")
    if state._a.dtype != uint8.np:
        raise TypeError("RNG state must be a torch.ByteTensor")
    return state._a


def _of_the_system() -> Generator:
    g = Generator()
    g._seed = int.from_bytes(os.urandom(8), "little")
    return g


def _in_child() -> None:
    default_generator.lock = threading.RLock()  # a thread of the parent may have held the old one


default_generator: Generator = _of_the_system()
os.register_at_fork(after_in_child=_in_child)
worker = threading.local()  # .generator: the one of a loader's worker thread


def choose(generator: Generator | None) -> Generator:
    """The generator that a ``generator=`` argument means; TypeError if it is none."""
    if generator is None:
        return default_generator
    if type(generator) is Generator or isinstance(generator, Generator):
        return generator
    raise TypeError(
        f"generator: expected a torch.Generator or None, got {type(generator).__name__}"
    )


def manual_seed(seed: Any) -> Generator:
    """Seed the default generator, and return it; takes what ``int()`` takes."""
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seed the default generator from the operating system, and return the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed of the default generator."""
    return default_generator.initial_seed()


def get_rng_state() -> _Tensor:
    """The state of the default generator, uint8 [5056]."""
    return default_generator.get_state()


def set_rng_state(new_state: _Tensor) -> None:
    """Set the state of the default generator."""
    default_generator.set_state(new_state)


def thread_safe_generator() -> Generator | None:
    """The generator of the loader's worker thread that calls; None elsewhere."""
    found: Generator | None = getattr(worker, "generator", None)
    return found


@contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """Restore the default generator's state at the end of the block.

    ``devices`` other than the CPU must exist; there are no generators of theirs to restore yet.
    """
    if not enabled:
        yield
        return
    for wanted in devices or ():
        resolve(_device(device_type or "cuda", wanted) if isinstance(wanted, int) else wanted)
    before = default_generator._bytes()
    try:
        yield
    finally:
        default_generator._restore(before)
