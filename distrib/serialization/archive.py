"""Zip archives as PyTorch writes them: records stored, 64-byte aligned, with checksums.

The reader trusts nothing: records must lie inside the file, not overlap, carry the checksum they
claim, and inflate to at most a bounded multiple of what is there.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np

ALIGNMENT = 64
MAX_INFLATION = 200  # times; PyTorch stores its records, other tools may deflate them
_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_DATE = (1980 - 1980) << 9 | 1 << 5 | 1
_UTF8 = 0x800
_BIG = 0xFFFFFFFF


class Writer:
    """Writes records one after the other; needs nothing of its stream but `write`."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name, self._at = stream, name, 0
        self._directory: list[tuple[bytes, int, int, int]] = []

    def _write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        while len(view):  # raw streams may take a part only
            written = self._stream.write(view)
            done = len(view) if written is None else written
            self._at += done
            view = view[done:]

    def record(self, name: str, data: Any) -> None:
        """Add a record; ``data`` is anything with contiguous bytes."""
        full = f"{self._name}/{name}".encode()
        size = memoryview(data).nbytes
        crc, start = zlib.crc32(data), self._at
        extra = struct.pack("<2H2Q", 1, 16, size, size) if size >= _BIG else b""
        body = start + _LOCAL.size + len(full) + len(extra) + 4
        padding = -body % ALIGNMENT
        extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
        short = min(size, _BIG)
        self._write(
            _LOCAL.pack(
                b"PK\x03\x04", 45 if size >= _BIG else 20, _UTF8, 0, 0, _DATE,
                crc, short, short, len(full), len(extra),
            )
            + full + extra
        )  # fmt: skip
        self._write(data)
        self._directory.append((full, start, size, crc))

    def close(self) -> None:
        """Write the central directory."""
        start = self._at
        for name, offset, size, crc in self._directory:
            wide = [v for v in (size, size, offset) if v >= _BIG]
            if size >= _BIG:
                wide = [size, size] + ([offset] if offset >= _BIG else [])
            extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
            short = min(size, _BIG)
            self._write(
                _CENTRAL.pack(
                    b"PK\x01\x02", 45, 45 if wide else 20, _UTF8, 0, 0, _DATE, crc, short, short,
                    len(name), len(extra), 0, 0, 0, 0, min(offset, _BIG),
                )
                + name + extra
            )  # fmt: skip
        size, count = self._at - start, len(self._directory)
        if count >= 0xFFFF or start >= _BIG or size >= _BIG:
            end = self._at
            self._write(
                struct.pack(
                    "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start
                )
                + struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
            )
        self._write(
            struct.pack(
                "<4s4H2LH", b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF),
                min(size, _BIG), min(start, _BIG), 0,
            )
        )  # fmt: skip


def failed(why: str) -> RuntimeError:
    """The error for an archive that cannot be read."""
    return RuntimeError(
        f"PytorchStreamReader failed reading zip archive: {why}. The checkpoint file is corrupted "
        "or "
        "incomplete: it was not saved or transferred to the end, or was changed afterwards."
    )


class Reader:
    """Finds and checks the records of an archive; RuntimeError for one that is damaged."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._size = stream.seek(0, os.SEEK_END)
        try:
            with zipfile.ZipFile(stream) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, ValueError, OverflowError, struct.error, OSError) as error:
            raise failed("failed finding central directory") from error
        except NotImplementedError as error:
            raise failed(str(error)) from error
        if not entries:
            raise failed("it has no records")
        self._name = entries[0].filename.partition("/")[0]
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            if entry.filename in self._entries:
                raise failed(f"two records are named {entry.filename!r}")
            self._entries[entry.filename] = entry
        self._check_extents(entries)
        self._starts: dict[str, int] = {}

    def _check_extents(self, entries: list[zipfile.ZipInfo]) -> None:
        end = 0
        for entry in sorted(entries, key=lambda e: e.header_offset):
            if entry.header_offset < end:
                raise failed(f"the record {entry.filename!r} overlaps another")
            end = entry.header_offset + _LOCAL.size + entry.compress_size
            if end > self._size:
                raise failed(f"the record {entry.filename!r} ends behind the end of the file")
            if entry.flag_bits & 1:
                raise failed(f"the record {entry.filename!r} is encrypted")
            if entry.compress_type == zipfile.ZIP_STORED:
                if entry.file_size != entry.compress_size:
                    raise failed(f"the record {entry.filename!r} has two different sizes")
            elif entry.compress_type != zipfile.ZIP_DEFLATED:
                raise failed(f"the record {entry.filename!r} has an unknown compression")
            elif entry.file_size > MAX_INFLATION * max(entry.compress_size, 64):
                raise failed(
                    f"the record {entry.filename!r} claims to inflate from {entry.compress_size} "
                    "to "
                    f"{entry.file_size} bytes, which is refused"
                )

    def names(self) -> list[str]:
        """Names of the records, without the archive's own."""
        prefix = self._name + "/"
        return [n.removeprefix(prefix) for n in self._entries if n.startswith(prefix)]

    def has(self, name: str) -> bool:
        """Whether there is a record."""
        return f"{self._name}/{name}" in self._entries

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = self._entries.get(f"{self._name}/{name}")
        if entry is None:
            raise failed(f"file not found: {self._name}/{name}")
        return entry

    def size(self, name: str) -> int:
        """Bytes of a record."""
        return self._entry(name).file_size

    def stored_at(self, name: str) -> int | None:
        """Where a record's bytes lie in the file; None if it is compressed."""
        entry = self._entry(name)
        return self._start(entry) if entry.compress_type == zipfile.ZIP_STORED else None

    def _start(self, entry: zipfile.ZipInfo) -> int:
        self._stream.seek(entry.header_offset)
        head = self._stream.read(_LOCAL.size)
        if len(head) != _LOCAL.size or head[:4] != b"PK\x03\x04":
            raise failed(f"the record {entry.filename!r} has no local header")
        name_length, extra_length = _LOCAL.unpack(head)[-2:]
        start = entry.header_offset + _LOCAL.size + name_length + extra_length
        if start + entry.compress_size > self._size:
            raise failed(f"the record {entry.filename!r} ends behind the end of the file")
        return int(start)

    def read(self, name: str) -> Any:
        """The bytes of a record as an array of uint8, checksum verified."""
        entry = self._entry(name)
        self._stream.seek(self._start(entry))
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            data: Any = self._inflate(entry)
        else:
            data = np.empty(entry.file_size, np.uint8)
            if not _fill(self._stream, memoryview(data)):
                raise failed(f"the record {entry.filename!r} is cut off")
        if zlib.crc32(data) != entry.CRC:
            raise failed(f"the record {entry.filename!r} has a wrong checksum")
        return data

    def _inflate(self, entry: zipfile.ZipInfo) -> Any:
        packed = self._stream.read(entry.compress_size)
        engine = zlib.decompressobj(-15)
        try:
            data = bytearray(engine.decompress(packed, entry.file_size + 1))
        except zlib.error as error:
            raise failed(f"the record {entry.filename!r} cannot be inflated: {error}") from error
        if len(data) != entry.file_size:
            raise failed(f"the record {entry.filename!r} has another size than it claims")
        return np.frombuffer(data, np.uint8)


def _fill(stream: IO[bytes], view: memoryview) -> bool:
    """Read until the view is full; False at an early end."""
    read_into = getattr(stream, "readinto", None)
    while len(view):
        if read_into is not None:
            count = read_into(view)
        else:
            part = stream.read(min(len(view), 1 << 24))
            count = len(part)
            view[:count] = part
        if not count:
            return False
        view = view[count:]
    return True


def is_zip(stream: IO[bytes]) -> bool:
    """Whether a stream starts as a zip archive does; its position is kept."""
    at = stream.tell()
    head = stream.read(4)
    stream.seek(at)
    return head == b"PK\x03\x04"


class Section(io.RawIOBase):
    """The rest of a seekable stream from where it stands, as a stream of its own."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._first = stream, stream.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = self._stream.seek(offset + (self._first if whence == os.SEEK_SET else 0), whence)
        return int((self._stream.tell() if at is None else at) - self._first)

    def tell(self) -> int:
        return int(self._stream.tell() - self._first)

    def readinto(self, buffer: Any) -> int:
        part = self._stream.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)
