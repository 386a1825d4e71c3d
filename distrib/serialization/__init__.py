"""torch.save and torch.load: PyTorch's files, written safely and read without trusting them."""

from __future__ import annotations

import io
import os
import pickle
import random
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from .allowed import add_safe_globals, clear_safe_globals, get_safe_globals, safe_globals

if TYPE_CHECKING:
    from .reading import MapLocation

DEFAULT_PROTOCOL = 2
Path = str | os.PathLike[str]


def save(
    obj: object,
    f: Path | IO[bytes],
    pickle_module: Any = pickle,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write an object as PyTorch does; to a path, the file is complete or not there at all.

    >>> import io
    >>> import distrib as torch
    >>> file = io.BytesIO()
    >>> torch.save({"w": torch.ones(2)}, file)
    >>> _ = file.seek(0)
    >>> torch.load(file)
    {'w': tensor([1., 1.])}
    """
    if not _use_new_zipfile_serialization:
        raise NotImplementedError(
            "the legacy format is only read; leave out the argument to write a zip"
        )
    if not isinstance(pickle_protocol, int) or not 2 <= pickle_protocol <= pickle.HIGHEST_PROTOCOL:
        raise ValueError(
            f"pickle_protocol: expected 2 to {pickle.HIGHEST_PROTOCOL}, got {pickle_protocol!r}"
        )

    from .archive import Writer
    from .pickler import Storages, dump

    def write(stream: Any, name: str) -> None:
        storages, data = Storages(), io.BytesIO()
        dump(obj, data, pickle_protocol, storages)
        archive = Writer(stream, name)
        archive.record("data.pkl", data.getvalue())
        archive.record(".format_version", b"1")
        archive.record(".storage_alignment", b"64")
        if not _disable_byteorder_record:
            archive.record("byteorder", sys.byteorder.encode())
        for key, memory in enumerate(storages.data):
            archive.record(f"data/{key}", memory)
        archive.record("version", b"3\n")
        archive.record(
            ".data/serialization_id", f"{random.SystemRandom().getrandbits(128):040d}".encode()
        )
        archive.close()

    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        stem = os.path.basename(path).rpartition(".")[0] or os.path.basename(path)
        _write_whole(path, lambda stream: write(stream, stem))
    elif hasattr(f, "write"):
        write(f, "archive")
    else:
        raise AttributeError(
            "expected 'f' to be string, path, or a file-like object with a 'write' attribute"
        )


def _write_whole(path: str, write: Callable[[Any], None]) -> None:
    """Write a file through a temporary one beside it, so that it is never half there."""
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    if os.path.exists(path) and not os.path.isfile(path):  # a device or a pipe is written directly
        with open(path, "wb") as stream:
            write(stream)
        return
    temporary = os.path.join(
        folder, f".{name}.{os.getpid()}.{random.SystemRandom().getrandbits(32):08x}.tmp"
    )
    mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else None
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(handle, "wb", buffering=1 << 20) as stream:
            write(stream)
            stream.flush()
            os.fsync(handle)
            if mode is not None:
                os.fchmod(handle, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    entry = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def load(
    f: Path | IO[bytes],
    map_location: MapLocation = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save`, or PyTorch's own, wrote; checksums are verified (not with ``mmap``).

    By default (``weights_only=True``) nothing that the file names is run: pickle.UnpicklingError
    for what is not allowed. RuntimeError for a damaged file.
    """
    from .archive import Section
    from .reading import Pickles, load_stream

    if weights_only is None:
        weights_only = pickle_module is None
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if mmap and not isinstance(f, (str, os.PathLike)):
        raise ValueError("f must be a file path in order to use the mmap argument")
    options = {"encoding": "utf-8", **pickle_load_args}
    pickles = Pickles(weights_only, pickle_module, options)
    if isinstance(f, (str, os.PathLike)):
        path = os.fspath(f)
        with open(path, "rb") as stream:
            return load_stream(stream, pickles, map_location, path, bool(mmap))
    if not all(hasattr(f, name) for name in ("read", "readline", "seek", "tell")):
        missing = next(n for n in ("read", "readline", "seek", "tell") if not hasattr(f, n))
        raise AttributeError(
            f"'{type(f).__name__}' object has no attribute '{missing}'. You can only torch.load "
            "from a file "
            "that is seekable. Please pre-load the data into a buffer like io.BytesIO and try to "
            "load from "
            "it instead."
        )
    if f.tell() == 0:
        return load_stream(f, pickles, map_location, None, False)
    section: Any = io.BufferedReader(Section(f))
    return load_stream(section, pickles, map_location, None, False)


def get_unsafe_globals_in_checkpoint(f: Path | IO[bytes]) -> list[str]:
    """Names of what a file needs and ``weights_only=True`` does not allow; nothing is loaded."""
    from .archive import Reader, is_zip
    from .unpickler import SafeUnpickler

    stream: Any = open(f, "rb") if isinstance(f, (str, os.PathLike)) else f
    try:
        if not is_zip(stream):
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        data = io.BytesIO(Reader(stream).read("data.pkl").tobytes())
    finally:
        if stream is not f:
            stream.close()
    reader = SafeUnpickler(data.read, data.readline, lambda pid: None)
    reader.globals = []
    reader.load()
    return list(dict.fromkeys(reader.globals))


__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "safe_globals",
    "save",
]
