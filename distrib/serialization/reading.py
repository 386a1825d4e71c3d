"""torch.load: finds out what kind of file it is, unpickles, places the storages on devices."""

from __future__ import annotations

import io
import mmap as _mmap
import os
import pickle
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from .. import devices
from ..devices import device
from ..dtypes import Array
from ..meta import MetaArray
from ..ops.layout import UntypedStorage
from . import names
from .archive import Reader, failed, is_zip
from .rebuild import Storage, StorageType
from .unpickler import SafeUnpickler

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
MAX_VERSION = 10
MapLocation = Callable[[Any, str], Any] | device | str | dict[str, str] | None


# ---- where a storage goes -----------------------------------------------------------------------
def _place(memory: Array, where: Any) -> Array:
    """The bytes of a storage on a device; RuntimeError if it is not there."""
    wanted = device(where)
    if wanted.type == "cuda":
        _require_cuda(wanted)
    elif wanted.type not in ("cpu", "meta"):
        raise RuntimeError(
            f"don't know how to restore data location of a storage (tagged with {where}); expected "
            "cpu, cuda or meta"
        )
    if wanted.type == "meta":
        return MetaArray(memory.shape, memory.dtype)
    return devices.move(memory, wanted)


def _require_cuda(wanted: device) -> None:
    try:
        devices.check(wanted)
    except Exception as error:
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is "
            "False. If "
            "you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        ) from error


def restorer(map_location: MapLocation) -> Callable[[Array, str], Array]:
    """(bytes, location in the file) -> bytes where ``map_location`` wants them."""
    if map_location is None:
        return _place
    if isinstance(map_location, dict):
        table = map_location
        return lambda memory, location: _place(memory, table.get(location, location))
    if isinstance(map_location, (str, device)):
        where = device(map_location)
        return lambda memory, location: _place(memory, where)
    if not callable(map_location):
        raise TypeError(
            "map_location: expected a device, a string, a dictionary, a function or None, got "
            f"{type(map_location).__name__}"
        )
    choose = map_location

    def by_function(memory: Array, location: str) -> Array:
        chosen = choose(UntypedStorage(memory), location)
        if chosen is None:
            return _place(memory, location)
        if not isinstance(chosen, UntypedStorage):
            raise TypeError(
                f"map_location: expected a storage or None, got {type(chosen).__name__}"
            )
        return chosen.bytes()

    return by_function


# ---- storages of a file -------------------------------------------------------------------------
class _Storages:
    """Turns persistent ids into storages, each memory once."""

    def __init__(self, restore: Callable[[Array, str], Array]) -> None:
        self.restore = restore
        self.known: dict[str, Storage] = {}

    def describe(self, pid: tuple[Any, ...]) -> tuple[StorageType, str, str, int]:
        """The parts of a persistent id; RuntimeError if they make no sense."""
        if len(pid) < 5 or pid[0] != "storage":
            raise RuntimeError(
                f"Unknown typename for persistent_load, expected 'storage' but got {pid!r:.60}"
            )
        kind, key, location, count = pid[1:5]
        if type(kind) is not StorageType or type(key) is not str or type(location) is not str:
            raise RuntimeError(
                f"a storage of the checkpoint is not described properly: {pid!r:.120}"
            )
        if type(count) is not int or not 0 <= count < 1 << 60:
            raise RuntimeError(f"a storage of the checkpoint has {count!r:.40} elements")
        return kind, key, location, count

    def typed(self, key: str, kind: StorageType, count: int) -> Storage:
        """A known storage, seen with a dtype."""
        found = self.known[key]
        if found.memory.size < count * kind.itemsize:
            raise RuntimeError(
                f"storage {key!r} has wrong byte size: expected {count * kind.itemsize} got "
                f"{found.memory.size}"
            )
        return Storage(found.memory, kind.dtype)


def _swapped(memory: Array, kind: StorageType) -> Array:
    """Bytes of the other byte order, turned round element by element."""
    size = kind.itemsize
    if kind.dtype is not None and kind.dtype.is_complex:
        size //= 2
    return memory.view(f"u{size}").byteswap().view(np.uint8) if size > 1 else memory


class _ZipStorages(_Storages):
    def __init__(
        self,
        reader: Reader,
        restore: Callable[[Array, str], Array],
        mapped: Array | None,
        swap: bool,
    ) -> None:
        super().__init__(restore)
        self.reader, self.mapped, self.swap = reader, mapped, swap

    def __call__(self, pid: tuple[Any, ...]) -> Storage:
        kind, key, location, count = self.describe(pid)
        if key not in self.known:
            record, size = f"data/{key}", count * kind.itemsize
            have = self.reader.size(record)
            if have != size:
                raise RuntimeError(
                    f"storage {key!r} has wrong byte size: expected {size} got {have}. The "
                    "checkpoint is corrupted."
                )
            start = None if self.mapped is None else self.reader.stored_at(record)
            if start is None:
                memory = self.reader.read(record)
            else:
                assert self.mapped is not None
                memory = self.mapped[start : start + size]
            if self.swap:
                memory = _swapped(memory, kind)
            self.known[key] = Storage(self.restore(memory, location), kind.dtype)
        return self.typed(key, kind, count)


class _LegacyStorages(_Storages):
    """Storages whose bytes come after the pickle: the memory is made first and filled later."""

    def __init__(self, restore: Callable[[Array, str], Array], limit: int) -> None:
        super().__init__(restore)
        self.limit, self.raw = limit, dict[str, tuple[Array, StorageType]]()

    def __call__(self, pid: tuple[Any, ...]) -> Storage:
        kind, key, location, count = self.describe(pid)
        if key not in self.known:
            size = count * kind.itemsize
            self.limit -= size
            if self.limit < 0:
                raise RuntimeError(
                    f"storage {key!r} has wrong byte size: {size} bytes are more than the file "
                    "holds"
                )
            memory = np.empty(size, np.uint8)
            placed = self.restore(memory, location)
            if placed is not memory and type(placed) is not MetaArray:
                raise NotImplementedError(
                    "a checkpoint in the legacy format is loaded to the CPU; use "
                    "map_location='cpu' and move it"
                )
            self.raw[key] = memory, kind
            self.known[key] = Storage(placed, kind.dtype)
        view = pid[5] if len(pid) > 5 else None
        if view is None:
            return self.typed(key, kind, count)
        _, start, length = view  # a storage that is a part of another
        k = kind.itemsize
        whole = self.known[key].memory
        if type(start) is not int or type(length) is not int or not 0 <= start <= start + length:
            raise RuntimeError(f"a view of storage {key!r} is not described properly")
        if (start + length) * k > whole.size:
            raise RuntimeError(f"a view of storage {key!r} lies outside of it")
        return Storage(whole[start * k : (start + length) * k], kind.dtype)


# ---- pickles -------------------------------------------------------------------------------------
class Pickles:
    """How the pickles of a file are read: safely, or with Python's unpickler."""

    def __init__(self, safe: bool, module: Any, options: dict[str, Any]) -> None:
        self.safe, self.module, self.options = safe, module, options

    def load(self, stream: IO[bytes], left: int, load_id: Callable[[Any], Any] | None) -> Any:
        """One pickle from where a stream stands; ``left`` bytes are all there is."""
        if not self.safe:
            return self._trusted(stream, load_id)
        reader = SafeUnpickler(
            lambda n: stream.read(min(n, left)), stream.readline, load_id or _no_storage
        )
        try:
            return reader.load()
        except pickle.UnpicklingError as error:
            raise pickle.UnpicklingError(explained(str(error))) from error

    def _trusted(self, stream: IO[bytes], load_id: Callable[[Any], Any] | None) -> Any:
        base: Any = (self.module or pickle).Unpickler

        def find_class(reader: Any, module: str, name: str) -> Any:
            if names.is_torch(module):
                return names.read(module, name)
            return base.find_class(reader, module, name)

        def persistent_load(reader: Any, pid: Any) -> Any:
            return (load_id or _no_storage)(pid)

        methods = {"find_class": find_class, "persistent_load": persistent_load}
        return type("Unpickler", (base,), methods)(stream, **self.options).load()


def _no_storage(pid: Any) -> Any:
    raise pickle.UnpicklingError("a persistent id where there are no storages")


def explained(why: str) -> str:
    """The message of a load that ``weights_only=True`` refused."""
    return (
        "Weights only load failed. With `weights_only=True`, the default, only tensors, "
        "containers, "
        "numbers and allowed globals are read, and nothing in the file is executed. \n\t(1) Only "
        "if you "
        "trust the source of the file: `torch.load(..., weights_only=False)` reads it whole, and "
        "may "
        "execute code in it.\n\t(2) Or allow what it needs, as the following error says.\n\t"
        f"WeightsUnpickler error: {why}"
    )


def load_zip(
    stream: IO[bytes], pickles: Pickles, map_location: MapLocation, path: str | None, mmap: bool
) -> Any:
    """The object of a zip archive."""
    reader = Reader(stream)
    _check_archive(reader, pickles.safe)
    order = "little"
    if reader.has("byteorder"):
        order = reader.read("byteorder").tobytes().decode("latin1")
        if order not in ("little", "big"):
            raise RuntimeError(f"Unknown endianness type: {order!r:.20}")
    data = reader.read("data.pkl").tobytes()
    mapped = None
    if mmap:
        assert path is not None
        with open(path, "rb") as file:
            mapping = _mmap.mmap(file.fileno(), 0, access=_mmap.ACCESS_COPY)
        mapped = np.frombuffer(mapping, np.uint8)
    storages = _ZipStorages(reader, restorer(map_location), mapped, order != sys.byteorder)
    return pickles.load(io.BytesIO(data), len(data), storages)


def _check_archive(reader: Reader, safe: bool) -> None:
    if reader.has("constants.pkl"):
        if safe:
            raise RuntimeError(
                "Cannot use ``weights_only=True`` with TorchScript archives passed to "
                "``torch.load``. In "
                "PyTorch 2.6, we changed the default value of the ``weights_only`` argument in "
                "``torch.load`` from ``False`` to ``True``. Use ``torch.jit.load`` for this file."
            )
        raise RuntimeError("the file is a TorchScript archive; use torch.jit.load for it")
    record = next((r for r in ("version", ".data/version") if reader.has(r)), None)
    if record is None or not reader.has("data.pkl"):
        missing = "version" if record is None else "data.pkl"
        raise RuntimeError(
            f'Expected hasRecord("{missing}") to be true, but got false. The file is a zip '
            "archive, but no checkpoint of PyTorch."
        )
    text = reader.read(record).tobytes()[:20].decode("latin1").strip()
    if not text.isdigit():
        raise failed(f"the version {text!r} is no number")
    if int(text) > MAX_VERSION:
        raise RuntimeError(
            f"Attempted to read a PyTorch file with version {text}, but the maximum supported "
            "version for "
            f"reading is {MAX_VERSION}. Your PyTorch installation may be too old."
        )


def load_legacy(stream: IO[bytes], pickles: Pickles, map_location: MapLocation) -> Any:
    """The object of a file from before the zip format: pickles, then the bytes of the storages."""
    at = stream.tell()
    left = stream.seek(0, os.SEEK_END) - at
    stream.seek(at)
    if left == 0:
        raise EOFError("Ran out of input: the checkpoint is empty")
    plain = Pickles(True, None, {})
    try:
        magic = plain.load(stream, left, None)
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(f"Corrupt file? It is no checkpoint. {error}") from error
    except EOFError as error:
        raise EOFError(f"{error}: the file ends within a pickle. It is no checkpoint") from error
    if type(magic) is not int or magic != MAGIC:
        got = hex(magic)[:20] if type(magic) is int else type(magic).__name__
        raise RuntimeError(
            f"Invalid magic number; corrupt file? It is no checkpoint: expected {MAGIC:#x}, got {got}"
        )
    version = plain.load(stream, left, None)
    if type(version) is not int or version != PROTOCOL:
        raise RuntimeError(f"Invalid protocol version: {version!r:.40}")
    system = plain.load(stream, left, None)
    swap = isinstance(system, dict) and system.get("little_endian") is (sys.byteorder != "little")
    storages = _LegacyStorages(restorer(map_location), left)
    result = pickles.load(stream, left, storages)
    keys = plain.load(stream, left, None)
    if not isinstance(keys, list) or {k for k in keys if type(k) is str} != set(storages.raw):
        raise RuntimeError("the storages of the checkpoint are not those that its pickle names")
    for key in keys:
        memory, kind = storages.raw[key]
        head = stream.read(8)
        if len(head) != 8 or struct.unpack("<q", head)[0] * kind.itemsize != memory.size:
            raise RuntimeError(f"storage {key!r} has wrong size; the checkpoint is corrupted")
        view = memoryview(memory)
        while len(view):
            part = stream.read(min(len(view), 1 << 24))
            if not part:
                raise RuntimeError(f"storage {key!r} is cut off; the checkpoint is corrupted")
            view[: len(part)] = part
            view = view[len(part) :]
        if swap:
            memory[:] = _swapped(memory, kind)
    return result


def load_stream(
    stream: IO[bytes], pickles: Pickles, map_location: MapLocation, path: str | None, mmap: bool
) -> Any:
    """The object of a checkpoint of either format."""
    if is_zip(stream):
        return load_zip(stream, pickles, map_location, path, mmap)
    if mmap:
        raise RuntimeError(
            "mmap can only be used with files saved with `torch.save(..., "
            "_use_new_zipfile_serialization=True)`, please torch.save your checkpoint with this "
            "option in "
            "order to use mmap."
        )
    return load_legacy(stream, pickles, map_location)
