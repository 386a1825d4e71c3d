"""Hostile and damaged files: a clear error, quickly, and nothing that the file names is run."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import subprocess
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distrib import serialization
from distrib.serialization.archive import Writer
from distrib.serialization.reading import MAGIC, PROTOCOL
from distrib.tensor import wrap

OK = b"\x80\x02"
FLOATS = b"ctorch\nFloatStorage\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def number(n: int) -> bytes:
    return pickle.dumps(n, 2)[2:-1]


def text(s: str) -> bytes:
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def storage(count: int, kind: bytes = FLOATS, key: str = "0", location: str = "cpu") -> bytes:
    return b"(" + text("storage") + kind + text(key) + text(location) + number(count) + b"tQ"


def tensor(count: int, offset: int, size: bytes, stride: bytes, rest: bytes = b"\x89N") -> bytes:
    return REBUILD + b"(" + storage(count) + number(offset) + size + stride + rest + b"tR"


def archive(data: bytes, records: dict[str, bytes] | None = None) -> io.BytesIO:
    file = io.BytesIO()
    writer = Writer(file, "archive")
    writer.record("data.pkl", data)
    for name, value in (records or {"data/0": bytes(16)}).items():
        writer.record(name, value)
    writer.record("version", b"3\n")
    writer.close()
    file.seek(0)
    return file


@pytest.fixture(autouse=True)
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whatever an attack would call leaves a mark; and each test must be quick."""
    ran: list[str] = []
    for module, name in ((os, "system"), (os, "popen"), (subprocess, "Popen")):
        monkeypatch.setattr(module, name, lambda *a, name=name: ran.append(name))
    before = time.perf_counter()
    yield
    assert ran == []
    assert time.perf_counter() - before < 5.0


PICKLES = {
    "os.system": OK + b"cos\nsystem\n(" + text("true") + b"tR.",
    "posix.system": OK + b"cposix\nsystem\n(" + text("true") + b"tR.",
    "eval": OK + b"cbuiltins\neval\n(" + text("1") + b"tR.",
    "python 2's eval": OK + b"c__builtin__\neval\n(" + text("1") + b"tR.",
    "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93(" + text("true") + b"tR.",
    "getattr": OK + b"cbuiltins\ngetattr\n(" + FLOATS + text("__class__") + b"tR.",
    "dotted name": OK + b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
    "our own module": OK + b"cdistrib.serialization\nload\n(" + text("x") + b"tR.",
    "torch.load": OK + b"ctorch\nload\n(" + text("x") + b"tR.",
    "torch.hub": OK + b"ctorch.hub\nload\n(" + text("x") + b"tR.",
    "subprocess": OK + b"csubprocess\nPopen\n(" + text("true") + b"tR.",
    "numpy": OK + b"cnumpy\nload\n(" + text("x") + b"tR.",
    "importlib": OK + b"cimportlib\nimport_module\n(" + text("os") + b"tR.",
    "inst": OK + b"(" + text("true") + b"ios\nsystem\n.",
    "obj": OK + b"(cos\nsystem\n" + text("true") + b"o.",
    "extension": OK + b"\x82\x01.",
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "protocol 77": b"\x80\x4d}.",
    "call a string": OK + text("x") + b")R.",
    "call a dtype": OK + b"ctorch\nfloat32\n)R.",
    "call a storage class": OK + FLOATS + b")R.",
    "call Tensor": OK + b"ctorch\nTensor\n)R.",
    "call with no tuple": OK + b"ccollections\nOrderedDict\n]R.",
    "state of a function": OK + REBUILD + b"}" + text("__code__") + b"Nsb.",
    "state of a class": OK + b"ctorch\nSize\n}" + text("x") + b"Nsb.",
    "state of a dtype": OK + b"ctorch\nfloat32\n}" + text("itemsize") + b"K\x00sb.",
    "state of a list": OK + b"]}" + text("x") + b"Nsb.",
    "methods of a dict": OK + b"ccollections\nOrderedDict\n)R}" + text("items") + b"Nsb.",
    "dunder of a dict": OK + b"ccollections\nOrderedDict\n)R}" + text("__class__") + b"Nsb.",
    "new of a function": OK + REBUILD + b")\x81.",
    "new of Tensor": OK + b"ctorch\nTensor\n)\x81.",
    "bytearray of a size": OK + b"cbuiltins\nbytearray\n(" + number(1 << 50) + b"tR.",
    "bytes of a size": OK + b"cbuiltins\nbytes\n(" + number(1 << 50) + b"tR.",
    "encode with idna": OK + b"c_codecs\nencode\n(" + text("a") + text("idna") + b"tR.",
    "set of a number": OK + b"cbuiltins\nset\n(K\x05tR.",
    "counter of a text": OK + b"ccollections\nCounter\n(" + text("abc") + b"tR.",
    "ordered of a number": OK + b"ccollections\nOrderedDict\n(K\x05tR.",
    "size of a text": OK + b"ctorch\nSize\n(" + text("ab") + b"tR.",
    "device of nonsense": OK + b"ctorch\ndevice\n(" + text("a b") + b"tR.",
    "list as a key": OK + b"}](]Ns.",
    "deep tuple as a key": OK + b"}N" + b"\x85" * 200_000 + b"Ns.",
    "append to a dict": OK + b"}Na.",
    "append to a tensor": OK + tensor(4, 0, b"(K\x04t", b"(K\x01t") + b"Na.",
    "set item of a list": OK + b"]NNs.",
    "set item of a string": OK + text("x") + b"NNs.",
    "odd items": OK + b"}(Nu.",
    "add to a list": b"\x80\x04](N\x90.",
    "empty stack": OK + b".",
    "stack underflow": OK + b"N\x87.",
    "no mark": OK + b"t.",
    "unknown memo": OK + b"h\x05.",
    "no stop": OK + b"}",
    "nothing": b"",
    "long text": OK + b"X\xff\xff\xff\xff" + b"a.",
    "very long bytes": b"\x80\x04\x8e" + b"\xff" * 8 + b"a.",
    "negative bytearray": b"\x80\x05\x96" + b"\xff" * 8 + b"a.",
    "no utf-8": OK + b"X\x02\x00\x00\x00\xff\xff.",
    "global without end": OK + b"ctorch",
    "unknown opcode": OK + b"\xff.",
    "persistent text": OK + text("x") + b"Q.",
    "persistent id of another kind": OK + b"(" + text("module") + b"NNNNtQ.",
    "short persistent id": OK + b"(" + text("storage") + b"tQ.",
    "storage of no class": OK + storage(4, b"N") + b".",
    "storage of a function": OK + storage(4, REBUILD) + b".",
    "unknown storage": OK + storage(4, key="77") + b".",
    "path as a key": OK + storage(4, key="../../etc/passwd") + b".",
    "unknown device": OK + storage(4, location="toaster") + b".",
    "negative storage": OK + storage(-4) + b".",
    "storage larger than its record": OK + storage(5) + b".",
    "storage smaller than its record": OK + storage(3) + b".",
    "gigantic storage": OK + storage(1 << 59) + b".",
    "storage of 2^63 elements": OK + storage(1 << 63) + b".",
    "tensor too long": OK + tensor(4, 0, b"(K\x05t", b"(K\x01t") + b".",
    "tensor off its storage": OK + tensor(4, 1, b"(K\x04t", b"(K\x01t") + b".",
    "negative offset": OK + tensor(4, -1, b"(K\x02t", b"(K\x01t") + b".",
    "negative stride": OK + tensor(4, 3, b"(K\x04t", b"(" + number(-1) + b"t") + b".",
    "negative size": OK + tensor(4, 0, b"(" + number(-1) + b"t", b"(K\x01t") + b".",
    "overflowing strides": OK + tensor(4, 0, b"(K\x02t", b"(" + number(1 << 62) + b"t") + b".",
    "overflowing sizes": OK
    + tensor(4, 0, b"(" + 2 * number(1 << 40) + b"t", b"(K\x00K\x00t") + b".",
    "sizes and strides differ": OK + tensor(4, 0, b"(K\x02t", b"(K\x01K\x01t") + b".",
    "size of text": OK + tensor(4, 0, b"(" + text("4") + b"t", b"(K\x01t") + b".",
    "float size": OK + tensor(4, 0, b"(G@\x10\0\0\0\0\0\0t", b"(K\x01t") + b".",
    "a thousand dims": OK + tensor(4, 0, *2 * [b"(" + b"K\x01" * 1000 + b"t"]) + b".",
    "tensor of no storage": OK + REBUILD + b"(" + text("x") + b"K\x00)))\x89NtR.",
    "parameter of no tensor": OK + b"ctorch._utils\n_rebuild_parameter\n(N\x89NtR.",
    "too few arguments": OK + REBUILD + b"(tR.",
    "type of a wrong class": OK
    + b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n)}tR.",
    "type with another function": OK
    + b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\ndevice\nctorch\nTensor\n("
    + text("cpu") + b"t}tR.",
    "layout of nonsense": OK + b"ctorch.serialization\n_get_layout\n(" + text("os.system") + b"tR.",
    "unsupported float8": OK + b"ctorch\nfloat8_e4m3fn\n.",
}  # fmt: skip
ERRORS = (pickle.UnpicklingError, RuntimeError, EOFError)


@pytest.mark.parametrize("name", PICKLES)
def test_hostile_pickles(name: str) -> None:
    with pytest.raises(ERRORS) as caught:
        serialization.load(archive(PICKLES[name]))
    assert len(str(caught.value)) > 10
    if b"system" in PICKLES[name][:14] and name not in ("inst", "obj", "protocol 0"):
        assert "Unsupported global: GLOBAL" in str(caught.value)
        assert "add_safe_globals" in str(caught.value)


def test_the_harness_reads_what_is_sound() -> None:
    data = OK + tensor(4, 1, b"(K\x03t", b"(K\x01t") + b"."
    assert serialization.load(archive(data)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("code", [b"]", b")", b"}"])
def test_deep_nesting_is_read_without_recursion(code: bytes) -> None:
    depth = 300_000
    data = OK + code * depth
    data += {b"]": b"a", b")": b"\x86", b"}": b""}[code] * (depth - 1 if code != b"}" else 0) + b"."
    result = serialization.load(archive(data))
    del result


def test_references_do_not_multiply() -> None:
    data = OK + b"]q\x00"
    for i in range(60):  # 2^60 elements if they were copied
        data += b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
    assert len(serialization.load(archive(data + b"."))) == 2


# ---- archives ----------------------------------------------------------------------------------
def good() -> bytes:
    file = io.BytesIO()
    values = {"w": wrap(np.arange(100, dtype=np.float32)), "b": wrap(np.ones(3, np.float32))}
    serialization.save(values, file)
    return file.getvalue()


def test_every_truncation_is_noticed() -> None:
    raw = good()
    for n in [*range(0, len(raw), 37), len(raw) - 1]:
        with pytest.raises((RuntimeError, EOFError)):
            serialization.load(io.BytesIO(raw[:n]))


def test_flipped_bytes_never_give_other_values() -> None:
    raw = good()
    rng = random.Random(1)
    spots = (
        rng.sample(range(len(raw)), 400) + list(range(64)) + list(range(len(raw) - 64, len(raw)))
    )
    refused = 0
    for at in spots:
        broken = bytearray(raw)
        broken[at] ^= 1 << rng.randrange(8)
        try:
            back = serialization.load(io.BytesIO(bytes(broken)))
        except ERRORS:
            refused += 1
        else:
            assert back["w"].tolist() == list(range(100))
            assert back["b"].tolist() == [1.0] * 3
    assert refused > 200


def test_a_wrong_checksum_is_named() -> None:
    raw = bytearray(good())
    at = raw.index(np.arange(100, dtype=np.float32).tobytes()) + 41
    raw[at] ^= 4
    with pytest.raises(RuntimeError, match="the record 'archive/data/0' has a wrong checksum"):
        serialization.load(io.BytesIO(bytes(raw)))


def test_random_bytes_and_other_files(tmp_path: Path) -> None:
    rng = random.Random(2)
    for raw in (
        b"hello, no checkpoint at all", b"PK\x03\x04" + rng.randbytes(500), rng.randbytes(500),
        b"\x80\x02}.", b"PK\x05\x06" + bytes(18), b"\x93NUMPY", bytes(1000),
    ):  # fmt: skip
        with pytest.raises((RuntimeError, EOFError, pickle.UnpicklingError)):
            serialization.load(io.BytesIO(raw))
    with pytest.raises(EOFError):
        serialization.load(io.BytesIO(b""))
    with pytest.raises(FileNotFoundError):
        serialization.load(tmp_path / "nothing.pt")
    with pytest.raises(IsADirectoryError):
        serialization.load(tmp_path)


def zipped(records: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in records.items():
            made.writestr(name, data)
    return file.getvalue()


SOUND = {
    "archive/data.pkl": OK + storage(1 << 24) + b".",
    "archive/version": b"3\n",
}


def test_zip_bombs_are_refused() -> None:
    bomb = zipped({**SOUND, "archive/data/0": bytes(4 << 24)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 1 << 20
    with pytest.raises(RuntimeError, match="to 67108864 bytes, which is refused"):
        serialization.load(io.BytesIO(bomb))


def test_a_bomb_that_lies_about_its_size_is_cut_off() -> None:
    records = {
        **SOUND,
        "archive/data.pkl": OK + storage(1024) + b".",
        "archive/data/0": bytes(1 << 26),
    }
    raw = bytearray(zipped(records, zipfile.ZIP_DEFLATED))
    at = raw.rindex(b"archive/data/0") - 46  # the size in the central directory
    raw[at + 24 : at + 28] = struct.pack("<I", 4096)
    with pytest.raises(RuntimeError, match="another size than it claims"):
        serialization.load(io.BytesIO(bytes(raw)))


def test_modest_compression_is_read() -> None:
    values = np.random.RandomState(0).randint(0, 3, 1000).astype(np.float32)
    raw = zipped(
        {
            "archive/data.pkl": OK + tensor(1000, 0, b"(M\xe8\x03t", b"(K\x01t") + b".",
            "archive/version": b"3\n",
            "archive/data/0": values.tobytes(),
        },
        zipfile.ZIP_DEFLATED,
    )
    np.testing.assert_array_equal(serialization.load(io.BytesIO(raw))._a, values)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_no_checkpoints() -> None:
    cases = {
        "no version": ({"archive/data.pkl": b"x"}, 'hasRecord\\("version"\\)'),
        "no pickle": ({"archive/version": b"3\n"}, 'hasRecord\\("data.pkl"\\)'),
        "future": ({**SOUND, "archive/version": b"77\n"}, "maximum supported version"),
        "no number": ({**SOUND, "archive/version": b"x\n"}, "is no number"),
        "torchscript": ({**SOUND, "archive/constants.pkl": b""}, "TorchScript archives"),
        "byte order": ({**SOUND, "archive/byteorder": b"middle"}, "Unknown endianness"),
        "missing storage": (SOUND, "file not found: archive/data/0"),
        "nothing": ({"x": b""}, "hasRecord"),
    }
    for records, message in cases.values():
        with pytest.raises(RuntimeError, match=message):
            serialization.load(io.BytesIO(zipped(records)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name, data in [*SOUND.items(), ("archive/version", b"3\n")]:
            made.writestr(name, data)
    file.seek(0)
    with pytest.raises(RuntimeError, match="two records are named"):
        serialization.load(file)
    with pytest.raises(RuntimeError, match="central directory"):
        serialization.load(io.BytesIO(b"PK\x03\x04"))


def test_overlapping_records_are_refused() -> None:
    """One body that many entries of the directory point at."""
    raw = zipped({**SOUND, "archive/data/0": bytes(1 << 16)})
    at = raw.rindex(b"PK\x05\x06")
    start = struct.unpack("<I", raw[at + 16 : at + 20])[0]
    entry = raw[raw.rindex(b"PK\x01\x02") : at]
    copies = b"".join(entry.replace(b"data/0", f"data/{i}".encode()) for i in range(1, 10))
    count = 3 + 9
    end = struct.pack(
        "<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, at - start + len(copies), start, 0
    )
    with pytest.raises(RuntimeError, match="overlaps another"):
        serialization.load(io.BytesIO(raw[:at] + copies + end))


# ---- the legacy format ---------------------------------------------------------------------------
def legacy(data: bytes, keys: Any = ("0",), tail: bytes | None = None) -> io.BytesIO:
    head = b"".join(pickle.dumps(x, 2) for x in (MAGIC, PROTOCOL, {"little_endian": True}))
    body = struct.pack("<q", 4) + bytes(16) if tail is None else tail
    return io.BytesIO(head + data + pickle.dumps(list(keys), 2) + body)


def test_legacy_files() -> None:
    sound = OK + tensor(4, 0, b"(K\x04t", b"(K\x01t") + b"."
    assert serialization.load(legacy(sound)).tolist() == [0.0] * 4
    wrong = {
        "evil": legacy(PICKLES["os.system"], ()),
        "gigantic": legacy(OK + storage(1 << 50) + b"."),
        "other keys": legacy(sound, ("1",)),
        "no keys": legacy(sound, ()),
        "cut off": legacy(sound, tail=struct.pack("<q", 4) + bytes(3)),
        "other size": legacy(sound, tail=struct.pack("<q", 400) + bytes(16)),
        "no storage": legacy(sound, tail=b""),
        "protocol": io.BytesIO(pickle.dumps(MAGIC, 2) + pickle.dumps(3, 2)),
        "magic": io.BytesIO(pickle.dumps(MAGIC + 1, 2)),
    }
    for file in wrong.values():
        with pytest.raises((RuntimeError, pickle.UnpicklingError)):
            serialization.load(file)


# ---- writing -------------------------------------------------------------------------------------
class Refuses:
    def __reduce__(self) -> Any:
        raise ValueError("not me")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    serialization.save({"a": 1}, path)
    path.chmod(0o640)
    before = path.read_bytes()
    for bad in ({"a": Refuses()}, lambda: 1):
        with pytest.raises((ValueError, AttributeError)):
            serialization.save(bad, path)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]
    serialization.save({"a": 2}, path)
    assert serialization.load(path) == {"a": 2}
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        serialization.save({"a": 1}, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "x.pt", tmp_path / "latest.pt"
    serialization.save(1, target)
    link.symlink_to("x.pt")
    serialization.save(2, link)
    assert link.is_symlink()
    assert serialization.load(target) == 2


def test_wrong_arguments(tmp_path: Path) -> None:
    file = io.BytesIO(good())
    with pytest.raises(RuntimeError, match="does not exist"):
        serialization.save(1, tmp_path / "no" / "x.pt")
    with pytest.raises(
        AttributeError, match="expected 'f' to be string, path, or a file-like object"
    ):
        serialization.save(1, 3)
    with pytest.raises(ValueError, match="pickle_protocol: expected 2 to"):
        serialization.save(1, io.BytesIO(), pickle_protocol=1)
    with pytest.raises(AttributeError, match="You can only torch"):
        serialization.load(3)
    with pytest.raises(RuntimeError, match="when explicit pickle_module is specified"):
        serialization.load(file, weights_only=True, pickle_module=pickle)
    with pytest.raises(ValueError, match="tuple of \\(global, str"):
        serialization.add_safe_globals([(1, 2, 3)])


def test_a_file_in_the_middle_of_a_stream() -> None:
    file = io.BytesIO(b"head" + good())
    file.seek(4)
    assert serialization.load(file)["b"].tolist() == [1.0] * 3


def test_checksums_are_pythons_too() -> None:
    with zipfile.ZipFile(io.BytesIO(good())) as made:
        for entry in made.infolist():
            assert zlib.crc32(made.read(entry)) == entry.CRC
