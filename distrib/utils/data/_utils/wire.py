"""How a batch crosses from worker to parent: a pickle in which arrays are references."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from ....dtypes import ALL, Array
from ....tensor import Leaf, Tensor, wrap
from .shm import Arena, Holder

# A dtype's pickle is larger than a small batch's: known ones travel by name.
NAME_OF: dict[Any, str] = {d.np: d.name for d in ALL}
BY_NAME: dict[str, Any] = {d.name: d.np for d in ALL}


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, arena: Arena) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self.arena = arena
        self.seen: dict[int, Any] = {}
        self.keep: list[Any] = []  # ids stay theirs while the batch is written

    def persistent_id(self, obj: Any) -> Any:
        kind = type(obj)
        if kind is Tensor:
            a, grad = obj._a, 0 if obj._n is None else 1
            if grad and type(obj._n) is not Leaf:
                raise RuntimeError(
                    "Cowardly refusing to serialize non-leaf tensor which requires_grad, since "
                    "autograd does not support crossing process boundaries.  If you just want to "
                    "transfer the data, call detach() on the tensor before serializing (e.g., "
                    "putting it on the queue)."
                )
        elif kind is np.ndarray:
            a, grad = obj, -1
        else:
            return None
        found = self.seen.get(id(obj))
        if found is None:
            found = self.seen[id(obj)] = self._reference(a, grad, len(self.seen))
            self.keep.append(obj)
        return found

    def _reference(self, a: Array, grad: int, serial: int) -> Any:
        if type(a) is not np.ndarray or a.dtype.hasobject:
            return None  # by its own pickle: a meta tensor, an array of objects
        name = NAME_OF.get(a.dtype, a.dtype)
        place = self.arena.place(a)
        if place is None:  # nothing in it, or no shared memory
            return serial, grad, name, a.shape, -1, a.tobytes(), None
        return serial, grad, name, a.shape, *place


def encode(batch: Any, arena: Arena) -> bytes:
    """The pickle of a batch whose arrays lie in the arena's segments."""
    file = io.BytesIO()
    _Pickler(file, arena).dump(batch)
    return file.getvalue()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, memory: dict[int, Array], copy: bool) -> None:
        super().__init__(file)
        self.memory, self.copy = memory, copy
        self.made: dict[int, Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        serial, grad, name, shape, number, offset, strides = pid
        made = self.made.get(serial)
        if made is not None:
            return made
        raw = BY_NAME[name] if type(name) is str else name
        if number < 0:
            a = np.frombuffer(bytearray(offset), raw).reshape(shape)
        else:
            a = np.ndarray(shape, raw, self.memory[number], offset, strides)
            if self.copy:
                a = a.copy()
        if grad >= 0:
            t = wrap(a)
            if grad:
                t.requires_grad_()
            self.made[serial] = t
            return t
        self.made[serial] = a
        return a


def decode(file: Any, holder: Holder, used: list[int]) -> Any:
    """The batch that `encode` wrote; its arrays keep their segments."""
    memory, copy = holder.open(used)
    return _Unpickler(file, memory, copy).load()
