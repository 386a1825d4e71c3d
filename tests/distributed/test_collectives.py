"""The common suite: every collective against NumPy, for any number of ranks and every backend."""

import ml_dtypes
import numpy as np
import pytest
from dist_box import Box

import distrib.distributed as dist
from distrib.distributed import ReduceOp

FLOATS = ["f4", "f8", "f2", ml_dtypes.bfloat16]
INTS = ["i1", "i2", "i4", "i8", "u1"]
COMPLEX = ["c8", "c16"]
NUMPY = {
    ReduceOp.SUM: np.add,
    ReduceOp.PRODUCT: np.multiply,
    ReduceOp.MIN: np.minimum,
    ReduceOp.MAX: np.maximum,
    ReduceOp.BAND: np.bitwise_and,
    ReduceOp.BOR: np.bitwise_or,
    ReduceOp.BXOR: np.bitwise_xor,
}
DTYPES = dict.fromkeys(("SUM", "PRODUCT"), FLOATS + INTS + COMPLEX)
DTYPES |= dict.fromkeys(("MIN", "MAX"), FLOATS + INTS) | {"AVG": FLOATS + COMPLEX}
DTYPES |= dict.fromkeys(("BAND", "BOR", "BXOR"), INTS)


def data(rank, shape, raw):
    """Small numbers that every rank can compute for every other; sums are exact in every dtype."""
    raw = np.dtype(raw)
    values = np.random.default_rng(rank).integers(-2 if raw.kind != "u" else 0, 4, shape)
    return np.asarray(values + 1j * (values % 3) if raw.kind == "c" else values).astype(raw)


def combined(op, shape, raw):
    size = dist.get_world_size()
    op = ReduceOp[op] if isinstance(op, str) else op
    total = data(0, shape, raw)
    for rank in range(1, size):
        total = NUMPY[ReduceOp.SUM if op is ReduceOp.AVG else op](total, data(rank, shape, raw))
    return (total / size).astype(raw) if op is ReduceOp.AVG else total.astype(raw)


def close(got, expected):
    exact = got.dtype.kind in "iub"
    wide = "c16" if got.dtype.kind == "c" else "f8"
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(got.astype(wide), expected.astype(wide), rtol=0 if exact else 1e-2)


@pytest.mark.parametrize("op", DTYPES)
def test_all_reduce(world, op):
    def body(rank):
        for raw in DTYPES[op]:
            t = Box(data(rank, (3, 4), raw))
            assert dist.all_reduce(t, ReduceOp[op]) is None
            close(t._a, combined(op, (3, 4), raw))
            assert t.num_bumps == 1

    world(body)


@pytest.mark.parametrize("op", ["SUM", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR"])
def test_all_reduce_of_bool_is_logical(world, op):
    def body(rank):
        size = dist.get_world_size()
        rows = np.array([[(r + i) % 3 == 0 for i in range(5)] + [True, False] for r in range(size)])
        t = Box(rows[rank].copy())
        dist.all_reduce(t, ReduceOp[op])
        expected = {
            "SUM": rows.any(0),
            "MAX": rows.any(0),
            "BOR": rows.any(0),
            "BXOR": rows.sum(0) % 2 == 1,
        }
        assert t._a.dtype == bool
        np.testing.assert_array_equal(t._a, expected.get(op, rows.all(0)))

    world(body)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 4), (1500001,)])
def test_shapes(world, shape):
    def body(rank):
        size, last = dist.get_world_size(), dist.get_world_size() - 1
        t = Box(data(rank, shape, "f4"))
        dist.all_reduce(t)
        close(t._a, combined("SUM", shape, "f4"))
        t = Box(data(rank, shape, "f4"))
        dist.broadcast(t, last)
        close(t._a, data(last, shape, "f4"))
        outs = [Box(np.zeros(shape, "f4")) for _ in range(size)]
        dist.all_gather(outs, Box(data(rank, shape, "f4")))
        for r, out in enumerate(outs):
            close(out._a, data(r, shape, "f4"))

    world(body)


LAYOUTS = {
    "transposed": lambda a: a.T,
    "strided": lambda a: a[::2, 1::2],
    "reversed": lambda a: a[::-1],
    "column": lambda a: a[:, 2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("raw", ["f4", "f2", "?"])
def test_layouts(world, layout, raw):
    """The values arrive in the view that was handed over, and nothing around it changes."""

    def body(rank):
        whole = data(rank, (6, 8), raw)
        before, view = whole.copy(), LAYOUTS[layout](whole)
        dist.broadcast(Box(view), 0)
        np.testing.assert_array_equal(view, LAYOUTS[layout](data(0, (6, 8), raw)))
        view[...] = LAYOUTS[layout](before)
        np.testing.assert_array_equal(whole, before)
        dist.all_reduce(Box(view), ReduceOp.MAX)
        close(view, LAYOUTS[layout](combined("MAX", (6, 8), raw)))
        untouched = np.ones((6, 8), bool)
        LAYOUTS[layout](untouched)[...] = False
        np.testing.assert_array_equal(whole[untouched], before[untouched])

    world(body)


def test_broadcast_and_reduce_from_every_rank(world):
    def body(rank):
        for root in range(dist.get_world_size()):
            for raw in ("f4", ml_dtypes.bfloat16, "c8", "?", "i8"):
                t = Box(data(rank, (2, 5), raw))
                dist.broadcast(t, src=root)
                np.testing.assert_array_equal(t._a, data(root, (2, 5), raw))
            for raw in ("f4", "f2", "i4"):
                t = Box(data(rank, (2, 5), raw))
                dist.reduce(t, root)
                close(
                    t._a, combined("SUM", (2, 5), raw) if rank == root else data(rank, (2, 5), raw)
                )
            t = Box(data(rank, (4,), "f4"))
            dist.broadcast(t, group_src=root)
            np.testing.assert_array_equal(t._a, data(root, (4,), "f4"))

    world(body)


@pytest.mark.parametrize("raw", ["f4", ml_dtypes.bfloat16, "?", "c16"])
def test_gathers_and_scatter(world, raw):
    def body(rank):
        size = dist.get_world_size()
        mine, every = Box(data(rank, (2, 3), raw)), [data(r, (2, 3), raw) for r in range(size)]
        for shape in ((2 * size, 3), (size, 2, 3)):
            whole = Box(np.zeros(shape, raw))
            dist.all_gather_into_tensor(whole, mine)
            np.testing.assert_array_equal(whole._a.reshape(size, 2, 3), every)
        for root in range(size):
            outs = [Box(np.zeros((2, 3), raw)) for _ in range(size)]
            dist.gather(mine, outs if rank == root else None, dst=root)
            if rank == root:
                np.testing.assert_array_equal([o._a for o in outs], every)
            part = Box(np.zeros((2, 3), raw))
            dist.scatter(part, [Box(a) for a in every] if rank == root else None, src=root)
            np.testing.assert_array_equal(part._a, every[rank])

    world(body)


@pytest.mark.parametrize("raw", ["f4", "f2", "c8", "i4"])
def test_reduce_scatter(world, raw):
    def body(rank):
        size = dist.get_world_size()
        expected = combined("SUM", (size, 2, 3), raw)[rank]
        mine = data(rank, (size, 2, 3), raw)
        out = Box(np.zeros((2, 3), raw))
        dist.reduce_scatter(out, [Box(a) for a in mine])
        close(out._a, expected)
        out = Box(np.zeros((2, 3), raw))
        dist.reduce_scatter_tensor(out, Box(mine.reshape(size * 2, 3)))
        close(out._a, expected)

    world(body)


def test_all_to_all(world):
    def body(rank):
        size = dist.get_world_size()
        parts = [Box(np.full((rank + to + 1, 2), 10 * rank + to, "f4")) for to in range(size)]
        outs = [Box(np.zeros((rank + source + 1, 2), "f4")) for source in range(size)]
        dist.all_to_all(outs, parts)
        for source, out in enumerate(outs):
            assert (out._a == 10 * source + rank).all()
        out = Box(np.zeros(size, "i8"))
        dist.all_to_all_single(out, Box(np.arange(size) + 10 * rank))
        np.testing.assert_array_equal(out._a, np.arange(size) * 10 + rank)
        sent = [to + 1 for to in range(size)]
        rows = Box(np.repeat(np.arange(size), sent).astype("f4")[:, None] + np.float32(100 * rank))
        out = Box(np.zeros(((rank + 1) * size, 1), "f4"))
        dist.all_to_all_single(out, rows, [rank + 1] * size, sent)
        expected = np.repeat([100 * r + rank for r in range(size)], rank + 1)
        np.testing.assert_array_equal(out._a[:, 0], expected)

    world(body)


def test_async_waited_for_in_any_order(world):
    def body(rank):
        boxes = [Box(data(rank, (n,), "f4")) for n in (5, 70000, 1, 1200001)]
        halves = Box(data(rank, (9,), "f2"))
        works = [dist.all_reduce(b, async_op=True) for b in boxes]
        works.append(dist.all_reduce(halves, ReduceOp.AVG, async_op=True))
        works.append(dist.barrier(async_op=True))
        for work in reversed(works):
            assert work.wait() is True
            assert (work.is_completed(), work.is_success(), work.exception()) == (True, True, None)
        assert works[0].result() == [boxes[0]]
        for b in boxes:
            close(b._a, combined("SUM", b._a.shape, "f4"))
        close(halves._a, combined("AVG", (9,), "f2"))

    world(body)


def test_async_completes_without_wait(world):
    def body(rank):
        t = Box(data(rank, (300000,), "f4"))
        work = dist.all_reduce(t, async_op=True)
        while not work.is_completed():
            pass
        close(t._a, combined("SUM", (300000,), "f4"))
        dist.barrier()

    world(body)


def test_all_ranks_get_the_same_bits(world):
    """Numbers of very different size: any other order of additions would show."""

    def body(rank):
        for n in (3, 1000, 300001):
            a = np.random.default_rng(rank).standard_normal(n) * 10.0 ** np.random.default_rng(
                n
            ).integers(-6, 6, n)
            t = Box(a.astype("f4"))
            dist.all_reduce(t)
            rows = Box(np.zeros((dist.get_world_size(), n), "f4"))
            dist.all_gather_into_tensor(rows, t)
            assert (rows._a.view("u4") == rows._a[0].view("u4")).all()

    world(body)


def test_objects(world):
    def body(rank):
        size = dist.get_world_size()
        out = [None] * size
        dist.all_gather_object(out, {"rank": rank, "text": "x" * 100 * rank})
        assert out == [{"rank": r, "text": "x" * 100 * r} for r in range(size)]
        last = size - 1
        values = [rank, "hello", (rank,)] if rank == last else [None] * 3
        dist.broadcast_object_list(values, src=last)
        assert values == [last, "hello", (last,)]
        got = [None] * size if rank == last else None
        dist.gather_object(rank * 2, got, dst=last)
        assert got == ([2 * r for r in range(size)] if rank == last else None)
        one = [None]
        dist.scatter_object_list(one, [f"for {r}" for r in range(size)] if rank == 0 else None)
        assert one == [f"for {rank}"]

    world(body)


def test_point_to_point_ring(world):
    def body(rank):
        size = dist.get_world_size()
        if size == 1:
            with pytest.raises(ValueError, match="Invalid destination rank"):
                dist.send(Box(np.zeros(1)), 0)
            return
        after, before = (rank + 1) % size, (rank - 1) % size
        out, got = Box(np.full((2, 2), rank, "f4")), Box(np.zeros((2, 2), "f4"))
        ops = [dist.P2POp(dist.isend, out, after), dist.P2POp(dist.irecv, got, before)]
        for work in dist.batch_isend_irecv(ops):
            work.wait()
        assert (got._a == before).all()
        if rank == 0:
            for _ in range(size - 1):
                sender = dist.recv(got, tag=5)
                assert (got._a == sender).all()
        else:
            dist.send(out, 0, tag=5)

    world(body)


def test_groups(world):
    def body(rank):
        size = dist.get_world_size()
        whole, evens = dist.new_group(), dist.new_group(range(0, size, 2))
        assert dist.get_process_group_ranks(whole) == list(range(size))
        t = Box(np.array([rank + 1.0]))
        dist.all_reduce(t, group=evens)
        if rank % 2:
            assert evens == dist.GroupMember.NON_GROUP_MEMBER
            assert dist.get_rank(evens) == -1
            assert t._a[0] == rank + 1
        else:
            assert t._a[0] == sum(r + 1 for r in range(0, size, 2))
            assert dist.get_group_rank(evens, rank) == rank // 2 == dist.get_rank(evens)
            assert dist.get_global_rank(evens, rank // 2) == rank
            last = (size - 1) // 2 * 2
            dist.broadcast(t, last, group=evens)
            with pytest.raises(ValueError, match="not part of group"):
                dist.broadcast(t, 1, group=evens)
            dist.destroy_process_group(evens)
            with pytest.raises(ValueError, match="not registered"):
                dist.all_reduce(t, group=evens)
        mine, groups = dist.new_subgroups(1)
        assert (dist.get_world_size(mine), len(groups)) == (1, size)
        dist.monitored_barrier()
        dist.barrier()

    world(body)


def test_repeated_small_calls(world):
    """Sequence numbers, buffers and slots survive many calls."""

    def body(rank):
        size, t = dist.get_world_size(), Box(np.zeros(4, "f4"))
        for i in range(100):
            t._a[:] = rank + i
            dist.all_reduce(t)
            assert (t._a == sum(range(size)) + size * i).all()

    world(body)
