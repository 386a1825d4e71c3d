"""Files of the real PyTorch read here, and ours read there: values, dtypes, strides, sharing."""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distrib
from distrib import dtypes, serialization
from distrib.tensor import Size, Tensor, wrap

reference = pytest.importorskip("torch")
DTYPES = list(dtypes.ALL)


def there(t: Tensor) -> Any:
    """The same values over there, bit for bit."""
    raw = np.array(t._a, order="C")
    kind = getattr(reference, t.dtype.name)
    flat = reference.frombuffer(bytearray(raw.tobytes()), dtype=kind) if raw.size else None
    return (
        reference.empty(0, dtype=kind).reshape(raw.shape)
        if flat is None
        else flat.reshape(raw.shape)
    )


def same(ours: Tensor, theirs: Any) -> None:
    assert str(ours.dtype) == str(theirs.dtype)
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.stride() == theirs.stride() or 0 in ours.shape
    assert ours.storage_offset() == theirs.storage_offset() or 0 in ours.shape
    assert ours.requires_grad == theirs.requires_grad
    want = theirs.detach().contiguous().view(-1).view(reference.uint8).numpy().tobytes()
    assert ours.detach()._a.tobytes() == want


def written(obj: Any, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    serialization.save(obj, file, **options)
    file.seek(0)
    return file


def written_there(obj: Any, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    reference.save(obj, file, **options)
    file.seek(0)
    return file


def sample(d: Any, shape: tuple[int, ...] = (3, 4)) -> Tensor:
    a = np.random.RandomState(3).uniform(-100, 100, shape)
    if d.np.kind in "ub":
        a = abs(a)
    return wrap(np.asarray(a).astype(d.np))


@pytest.mark.parametrize("d", DTYPES, ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2), (5,)])
def test_every_dtype(d: Any, shape: tuple[int, ...]) -> None:
    t = sample(d, shape)
    same(t, reference.load(written(t)))
    same(serialization.load(written_there(there(t))), there(t))
    same(serialization.load(written(t)), there(t))


def views(x: Any) -> dict[str, Any]:
    return {
        "whole": x, "part": x[1:3, 2:5], "turned": x.permute(1, 0), "row": x[3],
        "step": x[::2, 1::3], "wide": x[:1].expand(4, 6), "scalar": x[2, 3],
    }  # fmt: skip


def ours_of(x: Any) -> dict[str, Any]:
    a = x._a
    return {
        "whole": x, "part": wrap(a[1:3, 2:5]), "turned": wrap(a.T), "row": wrap(a[3]),
        "step": wrap(a[::2, 1::3]), "wide": wrap(np.broadcast_to(a[:1], (4, 6))),
        "scalar": wrap(a[2, 3, ...]),
    }  # fmt: skip


def test_views_keep_strides_offsets_and_their_storage() -> None:
    x = wrap(np.arange(24, dtype=np.float32).reshape(4, 6))
    theirs = views(reference.arange(24.0).reshape(4, 6))
    for read, kind in (
        (reference.load(written(ours_of(x))), "there"),
        (serialization.load(written_there(theirs)), "here"),
        (serialization.load(written(ours_of(x))), "both"),
    ):
        for name, want in theirs.items():
            got = read[name]
            assert tuple(got.shape) == tuple(want.shape)
            assert got.stride() == want.stride()
            assert got.storage_offset() == want.storage_offset()
            pointer = got.untyped_storage().data_ptr()
            assert pointer == read["whole"].untyped_storage().data_ptr(), (name, kind)
        read["whole"][0, 0] = 77.0
        assert read["turned"][0, 0].item() == 77.0
    assert len([n for n in zipfile.ZipFile(written(ours_of(x))).namelist() if "/data/" in n]) == 1


def test_what_strides_cannot_say_is_copied() -> None:
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    fields = np.zeros(5, dtype=[("a", "u1"), ("b", "f4")])
    fields["b"] = range(5)
    swapped = np.arange(3, dtype=">f4")
    odd = {"back": a[::-1, ::-2], "field": fields["b"], "swapped": swapped}
    back = serialization.load(written({k: Holder(v) for k, v in odd.items()}))
    for name, value in odd.items():
        np.testing.assert_array_equal(back[name]._a, value)


def Holder(a: np.ndarray) -> Tensor:
    t = wrap(a)
    return t if a.dtype.isnative else wrap(a.astype(a.dtype.newbyteorder("=")))


def test_channels_last_and_owned_memory_in_any_order() -> None:
    a = np.arange(120, dtype=np.float32).reshape(2, 4, 5, 3).transpose(0, 3, 1, 2)
    owned = np.empty_like(a)
    owned[...] = a
    t, copy = wrap(a), wrap(owned)
    for made in (t, copy):
        got = reference.load(written(made))
        assert got.is_contiguous(memory_format=reference.channels_last)
        np.testing.assert_array_equal(got.numpy(), a)


OBJECTS = {
    "numbers": [1, -1, 255, 256, 65536, 2**31, -(2**40), 2**100, 1.5, float("inf"), True, None, 1j],
    "texts": ["", "x", "ü€𝄞", "y" * 300, b"", b"ab", b"\xff" * 300, bytearray(b"xyz")],
    "nested": {"a": {"b": [{"c": (1, 2, (3, (4, 5, 6, 7)))}]}, 3: {(1, "x"): 2}, None: 1},
    "ordered": collections.OrderedDict(b=1, a=collections.OrderedDict()),
    "counter": collections.Counter({"a": 2, 3: 1}),
    "set": {1, 2, "x"},
}


@pytest.mark.parametrize("name", OBJECTS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_objects(name: str, protocol: int) -> None:
    obj = OBJECTS[name]
    assert serialization.load(written(obj, pickle_protocol=protocol)) == obj
    assert serialization.load(written_there(obj, pickle_protocol=protocol)) == obj
    assert reference.load(written(obj, pickle_protocol=protocol), weights_only=False) == obj
    if protocol == 2 and b"" not in obj:
        assert reference.load(written(obj)) == obj


def test_descriptors() -> None:
    ours = {
        "dtypes": [distrib.float32, distrib.bfloat16, distrib.int64, dtypes.bool_],
        "devices": [distrib.device("cpu"), distrib.device("cuda", 1)],
        "size": Size([2, 3]),
    }
    theirs = {
        "dtypes": [reference.float32, reference.bfloat16, reference.int64, reference.bool],
        "devices": [reference.device("cpu"), reference.device("cuda", 1)],
        "size": reference.Size([2, 3]),
    }
    assert reference.load(written(ours)) == theirs
    back = serialization.load(written_there(theirs))
    assert back == ours
    assert type(back["size"]) is Size
    assert back["dtypes"][0] is distrib.float32


def test_recursion_and_identity() -> None:
    t = sample(dtypes.float32)
    loop: list[Any] = [t, t]
    loop.append(loop)
    back = serialization.load(written(loop))
    assert back[0] is back[1]
    assert back[2] is back
    back = reference.load(written(loop))
    assert back[0] is back[1]


def test_metadata_of_a_state_dict() -> None:
    state = collections.OrderedDict(w=sample(dtypes.float32))
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    assert reference.load(written(state))._metadata == {"": {"version": 1}}
    module = reference.nn.BatchNorm1d(3)
    back = serialization.load(written_there(module.state_dict()))
    assert back._metadata == module.state_dict()._metadata
    for name, value in module.state_dict().items():
        same(back[name], value)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_requires_grad_and_conjugates(requires_grad: bool) -> None:
    theirs = reference.randn(3, requires_grad=requires_grad)
    same(serialization.load(written_there(theirs)), theirs)
    same(serialization.load(written_there(theirs)).requires_grad_(), theirs.requires_grad_())
    z = reference.randn(3, dtype=reference.complex64)
    back = serialization.load(written_there(z.conj()))
    np.testing.assert_array_equal(back._a, z.conj().resolve_conj().numpy())
    back = serialization.load(written_there(z.conj().imag))
    np.testing.assert_array_equal(back._a, z.conj().imag.resolve_neg().numpy())


def test_meta_tensors() -> None:
    theirs = reference.empty((2, 3), device="meta").t()
    back = serialization.load(written_there(theirs))
    assert back.is_meta
    assert (tuple(back.shape), back.stride()) == ((3, 2), (1, 3))
    again = reference.load(written(back))
    assert (again.device.type, tuple(again.shape), again.stride()) == ("meta", (3, 2), (1, 3))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_storages_alone() -> None:
    t = wrap(np.arange(4, dtype=np.float32))
    assert reference.load(written(t.untyped_storage()), weights_only=False).nbytes() == 16
    back = serialization.load(written_there(reference.arange(4.0).untyped_storage()))
    assert back.tolist() == t.untyped_storage().tolist()
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        written([t, wrap(t._a.view(np.int32))])


def test_the_archive_is_as_pytorch_lays_it_out(tmp_path: Path) -> None:
    x = {"a": sample(dtypes.float32), "b": sample(dtypes.int8, (7,))}
    serialization.save(x, tmp_path / "model.v2.pt")
    reference.save({k: there(v) for k, v in x.items()}, tmp_path / "theirs.pt")
    ours, theirs = (zipfile.ZipFile(tmp_path / n) for n in ("model.v2.pt", "theirs.pt"))
    assert ours.testzip() is None
    names = [n.partition("/")[2] for n in theirs.namelist()]
    assert [n.partition("/")[2] for n in ours.namelist()] == names
    assert {n.partition("/")[0] for n in ours.namelist()} == {"model.v2"}
    for name in names:
        if name not in (".data/serialization_id",):
            assert ours.read(f"model.v2/{name}") == theirs.read(f"theirs/{name}"), name
    raw = (tmp_path / "model.v2.pt").read_bytes()
    for entry in ours.infolist():
        header = raw[entry.header_offset : entry.header_offset + 30]
        start = entry.header_offset + 30 + sum(np.frombuffer(header[26:30], "<u2").tolist())
        assert start % 64 == 0
    assert [p.name for p in tmp_path.iterdir()].count("model.v2.pt") == 1
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("safe", [True, False])
def test_the_legacy_format(safe: bool) -> None:
    x = reference.arange(12.0).reshape(3, 4)
    theirs = {**views(reference.arange(24.0).reshape(4, 6)), "int": x.int(), "n": 3}
    file = written_there(theirs, _use_new_zipfile_serialization=False)
    back = serialization.load(file, weights_only=safe)
    for name, want in theirs.items():
        if name != "n":
            same(back[name], want)
    assert back["n"] == 3
    assert back["row"].untyped_storage() == back["whole"].untyped_storage()


@pytest.mark.parametrize("mmap", [False, True])
def test_map_location(tmp_path: Path, mmap: bool) -> None:
    path = tmp_path / "x.pt"
    reference.save({"x": reference.arange(4.0)}, path)
    seen: list[tuple[str, int]] = []

    def stay(storage: Any, location: str) -> Any:
        seen.append((location, storage.nbytes()))
        return storage if len(seen) == 1 else None

    for where in (None, "cpu", distrib.device("cpu"), {"cpu": "cpu"}, {"cuda:0": "cpu"}, stay):
        back = serialization.load(path, map_location=where, mmap=mmap)["x"]
        assert back.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert seen == [("cpu", 16)]
    assert serialization.load(path, map_location="meta", mmap=mmap)["x"].is_meta
    with pytest.raises(RuntimeError, match="to map your storages to the CPU"):
        serialization.load(path, map_location="cuda:0", mmap=mmap)
    with pytest.raises(TypeError, match="map_location: expected"):
        serialization.load(path, map_location=3)


def test_mmap_reads_lazily_and_keeps_writes_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    serialization.save({"x": wrap(np.arange(1000, dtype=np.float32))}, path)
    before = path.read_bytes()
    x = serialization.load(path, mmap=True)["x"]
    x._a[...] = -1
    assert path.read_bytes() == before
    assert serialization.load(path, mmap=True)["x"].tolist()[:2] == [0.0, 1.0]
    with pytest.raises(ValueError, match="f must be a file path"):
        serialization.load(io.BytesIO(before), mmap=True)


def test_other_byte_order(tmp_path: Path) -> None:
    path, other = tmp_path / "x.pt", tmp_path / "y.pt"
    x = {"f": sample(dtypes.float32), "c": sample(dtypes.complex64), "b": sample(dtypes.uint8)}
    swapped = {k: wrap(v._a.byteswap()) for k, v in x.items()}
    serialization.save(swapped, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(entry.filename, b"big" if entry.filename.endswith("byteorder") else data)
    back = serialization.load(other)
    for name, want in x.items():
        np.testing.assert_array_equal(back[name]._a, want._a)


def test_optimizer_states_travel_both_ways() -> None:
    from distrib import optim

    rng = np.random.RandomState(0)
    start = [rng.randn(4, 3).astype(np.float32), rng.randn(5).astype(np.float32)]
    ours = [wrap(a.copy()).requires_grad_() for a in start]
    theirs = [reference.tensor(a, requires_grad=True) for a in start]
    mine, other = optim.AdamW(ours, lr=0.1), reference.optim.AdamW(theirs, lr=0.1)

    def step(*optimizers: Any) -> None:
        for a, b in zip(ours, theirs, strict=True):
            g = np.cos(b.detach().numpy() * 3)
            a.grad, b.grad = wrap(g), reference.tensor(g)
        for optimizer in optimizers:
            optimizer.step()

    for _ in range(3):
        step(mine, other)
    fresh = reference.optim.AdamW(theirs, lr=0.9)
    fresh.load_state_dict(reference.load(written(mine.state_dict())))
    again = optim.AdamW(ours, lr=0.9)
    again.load_state_dict(serialization.load(written_there(other.state_dict())))
    for _ in range(3):
        step(fresh, again)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.detach()._a, b.detach().numpy(), rtol=1e-6, atol=1e-6)


def test_globals_by_hand() -> None:
    file = written({"s": collections.OrderedDict(), "h": Payload(3)})
    with pytest.raises(pickle.UnpicklingError, match=r"add_safe_globals\(\[.*Payload\]"):
        serialization.load(file)
    file.seek(0)
    assert serialization.get_unsafe_globals_in_checkpoint(file) == [f"{__name__}.Payload"]
    for allowed in ([Payload], [(Payload, f"{__name__}.Payload")]):
        file.seek(0)
        with serialization.safe_globals(allowed):
            assert serialization.load(file)["h"].value == 3
        assert serialization.get_safe_globals() == []
    serialization.add_safe_globals([Payload])
    try:
        file.seek(0)
        assert serialization.load(file)["h"].value == 3
        assert serialization.get_safe_globals() == [Payload]
    finally:
        serialization.clear_safe_globals()
    file.seek(0)
    assert serialization.load(file, weights_only=False)["h"].value == 3


class Payload:
    def __init__(self, value: int) -> None:
        self.value = value
