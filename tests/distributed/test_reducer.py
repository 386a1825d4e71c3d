"""Buckets and the reducer, without the autograd engine: order, averaging, views, errors."""

import numpy as np
import pytest
from dist_toy import Param, Value

import distrib.distributed as dist
from distrib.distributed.buckets import MIB, caps, plan_buckets
from distrib.distributed.reducer import Reducer, broadcast_coalesced, check_same

SHAPES = [(3, 4), (5,), (), (2, 2, 2), (7,)]


def make(find_unused=False, as_views=False, cap_bytes=40, kinds="fffff"):
    raw = {"f": "f4", "d": "f8", "h": "f2"}
    params = [Param(np.zeros(s, raw[k])) for s, k in zip(SHAPES, kinds, strict=True)]
    names = [f"p{i}" for i in range(len(params))]
    group = dist.group.WORLD
    return params, Reducer(params, names, group, Value, [cap_bytes], find_unused, as_views)


def gradient(rank, i, step=0):
    return np.full(SHAPES[i], 10 * rank + i + 100 * step, "f4")


def mean(i, step=0):
    size = dist.get_world_size()
    return sum(gradient(r, i, step) for r in range(size)) / size


def backward(params, rank, order=(4, 3, 2, 1, 0), step=0):
    for i in order:
        params[i].accumulate(gradient(rank, i, step))


def test_plan_is_in_reverse_order_and_capped():
    assert plan_buckets([4] * 6, "f" * 6, [4, 8]) == [[5], [4, 3], [2, 1], [0]]
    assert plan_buckets([100, 1, 1], "fff", [8]) == [[2, 1, 0]]
    assert plan_buckets([1, 100, 1], "fff", [8]) == [[2, 1], [0]]
    assert plan_buckets([], "", [8]) == []


def test_plan_keeps_dtypes_apart_and_orders_by_completion():
    plan = plan_buckets([4, 4, 4, 4], "fdfd", [8])
    assert plan == [[3, 1], [2, 0]]
    assert plan_buckets([4, 4, 4, 4], "dffd", [8]) == [[2, 1], [3, 0]]


def test_caps():
    assert caps(25) == [MIB, 25 * MIB]
    assert caps(0.5) == [MIB // 2, MIB // 2]
    assert caps(25, [1, 2, 3]) == [MIB, 2 * MIB, 3 * MIB]


@pytest.mark.parametrize("order", [(4, 3, 2, 1, 0), (0, 1, 2, 3, 4), (2, 0, 4, 1, 3)])
@pytest.mark.parametrize("kinds", ["fffff", "fdfhd"])
def test_gradients_are_averaged_whatever_the_order(world, order, kinds):
    def body(rank):
        params, reducer = make(kinds=kinds)
        for step in range(3):
            reducer.check_finished()
            for p in params:
                p.grad = None
            reducer.prepare()
            backward(params, rank, np.roll(order, rank), step)  # another order on each rank
            for i, p in enumerate(params):
                assert (p.grad._a.dtype, p.grad._a.shape) == (p._a.dtype, p._a.shape)
                np.testing.assert_allclose(p.grad._a.astype("f8"), mean(i, step), rtol=2e-3)

    world(body)


def test_gradients_become_views_of_the_buckets(world):
    def body(rank):
        params, reducer = make()
        reducer.prepare()
        backward(params, rank)
        if dist.get_world_size() > 1:
            flats = [b.flat for b in reducer.buckets]
            assert all(any(p.grad._a.base is f for f in flats) for p in params)

    world(body)


def test_zeroed_in_place_or_accumulated_on(world):
    def body(rank):
        params, reducer = make()
        reducer.prepare()
        backward(params, rank)
        reducer.prepare()
        backward(params, rank, step=1)  # nobody zeroed: the averages add up
        for i, p in enumerate(params):
            np.testing.assert_allclose(p.grad._a, mean(i) + mean(i, 1), rtol=1e-5)
            p.grad._a[...] = 0
        reducer.prepare()
        backward(params, rank, step=2)
        for i, p in enumerate(params):
            np.testing.assert_allclose(p.grad._a, mean(i, 2), rtol=1e-5)

    world(body)


def test_skipped_passes_stay_local_and_add_up(world):
    def body(rank):
        params, reducer = make()
        reducer.skip()
        backward(params, rank)
        for i, p in enumerate(params):
            np.testing.assert_array_equal(p.grad._a, gradient(rank, i))
        reducer.prepare()
        backward(params, rank, step=1)
        for i, p in enumerate(params):
            np.testing.assert_allclose(p.grad._a, mean(i) + mean(i, 1), rtol=1e-5)

    world(body)


@pytest.mark.parametrize("as_views", [False, True])
def test_gradients_that_the_user_keeps_survive_the_next_pass(world, as_views):
    def body(rank):
        params, reducer = make(as_views=as_views)
        kept = []
        for step in range(3):
            reducer.prepare()
            backward(params, rank, step=step)
            kept.append([p.grad._a[...] for p in params])
            for p in params:
                p.grad = None
        if not as_views:
            for step, grads in enumerate(kept):
                for i, g in enumerate(grads):
                    np.testing.assert_allclose(g, mean(i, step), rtol=1e-5)
        kept = grads = g = None
        flat = reducer.buckets[0].flat
        reducer.prepare()
        backward(params, rank)
        if dist.get_world_size() > 1 and as_views:
            assert reducer.buckets[0].flat is flat

    world(body)


def test_memory_is_reused_when_nobody_looks(world):
    def body(rank):
        params, reducer = make()
        seen = set()
        for step in range(4):
            for p in params:
                p.grad = None
            reducer.prepare()
            backward(params, rank, step=step)
            seen.add(id(reducer.buckets[0].flat))
        assert len(seen) == 1

    world(body)


def test_a_parameter_without_gradient_is_an_error_at_the_next_forward(world):
    def body(rank):
        params, reducer = make()
        reducer.check_finished()
        reducer.prepare()
        reducer.check_finished()  # a forward without a backward is no error
        backward(params, rank, (4, 3, 1))
        with pytest.raises(
            RuntimeError, match=r"(?s)Expected to have finished.*rank \d: 0 2 \(p0, p2\)"
        ):
            reducer.check_finished()

    world(body)


def test_unused_parameters(world):
    """Unused here and used elsewhere: the mean; unused everywhere: no gradient."""

    def body(rank):
        params, reducer = make(find_unused=True)
        used = [i for i in (4, 3, 2, 1, 0) if i != 2 and (i != 3 or rank == 0)]
        for step in range(2):
            for p in params:
                p.grad = None
            reducer.check_finished()
            reducer.prepare(set(range(5)) - set(used))
            backward(params, rank, used, step)
            assert params[2].grad is None
            np.testing.assert_allclose(params[0].grad._a, mean(0, step), rtol=1e-5)
            expected = gradient(0, 3, step) / dist.get_world_size()
            np.testing.assert_allclose(params[3].grad._a, expected, rtol=1e-5)

    world(body)


def test_a_forward_without_backward_between(world):
    def body(rank):
        params, reducer = make(find_unused=True)
        reducer.prepare({4, 3})
        reducer.check_finished()
        reducer.prepare()
        backward(params, rank)
        np.testing.assert_allclose(params[4].grad._a, mean(4), rtol=1e-5)

    world(body)


def test_two_gradients_for_one_parameter(world):
    def body(rank):
        params, reducer = make()
        reducer.prepare()
        backward(params, rank, (4, 3))
        with pytest.raises(RuntimeError, match="mark a variable ready only once"):
            backward(params, rank, (4,))

    world(body)


def test_other_strides(world):
    def body(rank):
        p = Param(np.zeros((2, 3, 4), "f4").transpose(2, 0, 1))
        reducer = Reducer([p], ["p"], dist.group.WORLD, Value, [100])
        reducer.prepare()
        g = np.arange(24, dtype="f4").reshape(4, 2, 3) + rank
        p.accumulate(g)
        size = dist.get_world_size()
        np.testing.assert_allclose(p.grad._a, g - rank + (size - 1) / 2, rtol=1e-6)
        if size > 1:
            assert p.grad._a.strides == p._a.strides

    world(body)


def test_models_must_agree(world):
    def body(rank):
        size, last = dist.get_world_size(), dist.get_world_size() - 1
        params = [Param(np.zeros(3, "f4")), Param(np.zeros((2, 2), "f4"))]
        check_same(params, ["a", "b"], dist.group.WORLD)
        if size == 1:
            return
        odd = [params[0], Param(np.zeros((2, 3), "f4"))] if rank == last else params
        with pytest.raises(RuntimeError, match=rf"'b' of rank {last} .*\[2, 2\].*\[2, 3\]"):
            check_same(odd, ["a", "b"], dist.group.WORLD)
        few = params[:1] if rank == last else params
        with pytest.raises(RuntimeError, match=rf"expected 2 parameters.*got 1 on rank {last}"):
            check_same(few, ["a", "b"][: len(few)], dist.group.WORLD)

    world(body)


@pytest.mark.parametrize("batch_bytes", [1, 50, 1 << 20])
def test_broadcast_coalesced(world, batch_bytes):
    def body(rank):
        raws = ["f4", "i8", "f8", "?", "f2"]
        arrays = [np.full(s, rank + 1).astype(r) for s, r in zip(SHAPES, raws, strict=True)]
        arrays.append(np.full((4, 3), rank, "f4").T)
        src = dist.get_world_size() - 1
        broadcast_coalesced(arrays, dist.group.WORLD, src, batch_bytes)
        for a in arrays[:-1]:
            np.testing.assert_array_equal(a, np.full(a.shape, src + 1).astype(a.dtype))
        assert (arrays[-1] == src).all()

    world(body)
