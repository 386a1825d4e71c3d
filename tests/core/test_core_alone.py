"""What needs no reference: memory, depth, cycles, versions, speed paths, values known beforehand."""

import gc
import threading
import weakref

import pytest

import distrib as d
from distrib.autograd import engine
from distrib.tensor import W


def leaf(*values):
    return d.tensor([float(v) for v in values], requires_grad=True)


@pytest.mark.parametrize("create_graph", [False, True])
def test_deep_graphs_do_not_recurse(create_graph):
    x = y = leaf(1.0)
    for _ in range(20000):
        y = y + 1.0
    (g,) = d.autograd.grad(y.sum(), x, create_graph=create_graph)
    assert g.tolist() == [1.0]


def test_a_deep_graph_is_freed_without_recursion():
    x = y = leaf(1.0)
    for _ in range(100000):
        y = y * 1.0
    del y
    assert x.grad is None


def test_deep_graph_of_writes():
    x = leaf(1.0, 2.0)
    y = x * 1.0
    for _ in range(2000):
        y.add_(1.0)
        y[0].mul_(1.0)
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


MAKERS = {
    "exp": lambda x: x.exp(),
    "product": lambda x: x * x,
    "view": lambda x: (x * 1.0)[1:],
    "chain": lambda x: (x * x).exp().sum(),
    "in place": lambda x: (x * 1.0).exp_(),
    "in place on a view": lambda x: (x * 1.0)[1:].mul_(2.0),
    "base with a written view": lambda x: with_written_view(x),
    "squeeze_": lambda x: (x * 1.0).unsqueeze_(0),
    "split": lambda x: x.split(2)[0],
    "max": lambda x: x.max(0)[0],
    "setitem": lambda x: assigned(x),
    "hook": lambda x: hooked(x),
    "retain": lambda x: retained(x),
    "function": lambda x: Twice.apply(x),
    "function saving its output": lambda x: Exp.apply(x),
    "softmax": lambda x: x.softmax(0),
    "checkpoint": lambda x: d.utils.checkpoint.checkpoint(d.exp, x, use_reentrant=False),
    "create_graph": lambda x: d.autograd.grad((x**3).sum(), x, create_graph=True)[0],
}


class Twice(d.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


class Exp(d.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


def with_written_view(x):
    b = x * 1.0
    b[1:].mul_(2.0)
    return b


def assigned(x):
    b = x * 1.0
    b[d.tensor([0])] = x[1:2]
    return b


def hooked(x):
    y = x * 2
    y.register_hook(lambda g: g)
    return y


def retained(x):
    y = x * 2
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    return y


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_no_reference_cycles(make):
    x = leaf(1.0, 2.0, 3.0, 4.0)
    make(x)  # first calls compile
    gc.collect()
    gc.disable()
    try:
        y = make(x)
        dead = weakref.ref(y)
        node = weakref.ref(y.grad_fn)
        del y
        assert dead() is None
        assert node() is None
    finally:
        gc.enable()


def test_backward_frees_what_was_saved():
    x = leaf(1.0, 2.0)
    h = x * 1.0
    kept = weakref.ref(h)
    y = (h * h).sum()
    del h
    assert kept() is not None
    y.backward()
    assert kept() is None


def test_backward_frees_what_a_write_through_a_view_saved():
    x, w = leaf(1.0, 2.0), d.ones(1) * 3
    b = x * 1.0
    b[:1].mul_(w)
    kept = weakref.ref(w)
    del w
    y = b.sum()
    assert kept() is not None
    y.backward()
    assert kept() is None
    assert x.grad.tolist() == [3.0, 1.0]


def test_a_leaf_dies_with_its_accumulator():
    x = leaf(1.0)
    x.sum().backward()
    dead = weakref.ref(x)
    del x
    assert dead() is None


def test_no_input_is_kept_for_a_frozen_weight():
    x, w = leaf(1.0, 2.0), d.ones(2)
    h = x * 1.0
    kept = weakref.ref(h)
    y = h * w
    del h
    assert kept() is None
    assert y.requires_grad


def test_modes_leave_full_speed_behind():
    before = {k: W[k] for k in ("nograd", "icept")}
    d.set_grad_enabled(False)
    with d.enable_grad(), d.no_grad(), d.inference_mode():
        pass
    d.set_grad_enabled(True)
    d.autograd.set_detect_anomaly(True)
    d.autograd.set_detect_anomaly(True)
    d.autograd.set_detect_anomaly(False)
    with d.autograd.detect_anomaly(), d.autograd.detect_anomaly(check_nan=False):
        pass
    assert {k: W[k] for k in before} == before
    assert not engine.anomaly.on


def test_a_view_made_in_inference_mode_leaves_its_base_alone():
    x = d.ones(3)
    with d.inference_mode():
        v = x[1:]
        assert not v.is_inference()
    x.requires_grad_()
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_accumulation_counts_as_a_write():
    x, w = leaf(1.0), leaf(2.0)
    x.sum().backward()
    y = (x.grad * w).sum()
    x.sum().backward()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_threads_build_and_run_their_own_graphs():
    w, results = leaf(1.0, 2.0), {}

    def work(i):
        with d.set_grad_enabled(i % 2 == 0):
            y = (w * float(i)).sum()
            results[i] = d.autograd.grad(y, w)[0].tolist() if y.requires_grad else None

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {i: [float(i)] * 2 if i % 2 == 0 else None for i in range(6)}


def test_gradients_summed_in_place_are_not_shared():
    x = leaf(1.0, 2.0)
    seen = []
    y = x * 1.0
    y.register_hook(lambda g: seen.append(g))
    (y * 2 + y * 3).sum().backward()
    first = seen[0].tolist()
    x.grad.zero_()
    assert first == [5.0, 5.0]
    assert seen[0].tolist() == [5.0, 5.0]


def test_a_seed_is_not_written_to():
    x, seed = leaf(1.0, 2.0), d.ones(2)
    y = x + 0.0
    d.autograd.backward([y, y + y], [seed, seed])
    x.grad.mul_(10.0)
    assert seed.tolist() == [1.0, 1.0]
    assert x.grad.tolist() == [30.0, 30.0]


# ---- checkpoint ------------------------------------------------------------------------------------------
def runs(f, *args, **kwargs):
    """Results and gradients, without and with checkpoint, from the same random state."""
    found = []
    for call in (f, lambda *a, **k: d.utils.checkpoint.checkpoint(f, *a, use_reentrant=False, **k)):
        d.manual_seed(3)
        leaves = [
            a.detach().clone().requires_grad_(a.requires_grad) if isinstance(a, d.Tensor) else a
            for a in args
        ]
        out = call(*leaves, **kwargs)
        outs = out if isinstance(out, tuple) else (out,)
        after = d.rand(1).item()
        sum((o * o).sum() for o in outs if isinstance(o, d.Tensor)).backward()
        found.append(
            (
                [o.tolist() for o in outs if isinstance(o, d.Tensor)],
                [a.grad.tolist() for a in leaves if isinstance(a, d.Tensor) and a.requires_grad],
                after,
                d.rand(1).item(),
            )
        )
    return found


def nested(x, w):
    def inner(y):
        return d.nn.functional.dropout(y * w, 0.5).tanh()

    return d.utils.checkpoint.checkpoint(inner, x.exp(), use_reentrant=False) * 2


@pytest.mark.parametrize(
    "f",
    [
        lambda x, w: (x * w).tanh(),
        lambda x, w: d.nn.functional.dropout(x * w, 0.5),
        lambda x, w: (x * w, x.exp(), w.sum()),
        lambda x, w: (x * w, "text", x.detach()),
        nested,
        lambda x, w: x * d.rand(4) + w * d.randn(4),
    ],
)
def test_checkpoint_changes_nothing(f):
    plain, kept = runs(f, leaf(1.0, 2.0, 3.0, 4.0), leaf(0.5, 0.25, 2.0, 1.0))
    assert plain == kept


def test_checkpoint_with_keywords_and_numbers():
    plain, kept = runs(lambda x, n, scale=1.0: x**n * scale, leaf(1.0, 2.0), 3, scale=2.5)
    assert plain == kept


def test_checkpoint_of_parameters_only():
    lin = d.nn.Linear(2, 2)
    y = d.utils.checkpoint.checkpoint(lin, d.ones(1, 2), use_reentrant=False)
    y.sum().backward()
    assert lin.bias.grad.tolist() == [1.0, 1.0]


def test_checkpoint_runs_the_function_twice_and_keeps_nothing():
    calls, inner = [], []

    def f(x):
        calls.append(d.is_grad_enabled())
        h = x.exp()
        inner.append(weakref.ref(h))
        return h * h

    y = d.utils.checkpoint.checkpoint(f, leaf(1.0), use_reentrant=False)
    assert inner[0]() is None
    y.sum().backward()
    assert len(calls) == 2


def test_checkpoint_with_grad_and_a_tensor_in_a_keyword():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = d.utils.checkpoint.checkpoint(lambda a, other: a * other, x, other=w, use_reentrant=False)
    found = d.autograd.grad(y.sum(), [x, w])
    assert [g.tolist() for g in found] == [[3.0, 4.0], [1.0, 2.0]]


@pytest.mark.xfail(
    strict=True, reason="checkpoint is a Function: grad() does not see leaves that it closes over"
)
def test_checkpoint_of_a_closure_in_grad():
    w = leaf(3.0)
    y = d.utils.checkpoint.checkpoint(lambda a: a * w, leaf(2.0), use_reentrant=False)
    assert d.autograd.grad(y.sum(), w)[0].tolist() == [2.0]


def test_a_saved_output_that_died_is_differentiated_twice():
    class Two(d.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y, x * 2

        @staticmethod
        def backward(ctx, g, h):
            return (g + h) * ctx.saved_tensors[0]

    x = leaf(1.0)
    b = Two.apply(x)[1]
    (g,) = d.autograd.grad(b.sum(), x, create_graph=True)
    (h,) = d.autograd.grad(g.sum(), x)
    assert d.allclose(h, x.exp())


def test_checkpoint_sequential():
    net = d.nn.Sequential(*(d.nn.Linear(3, 3) for _ in range(5)))
    x = d.ones(2, 3, requires_grad=True)
    net(x).sum().backward()
    want, x.grad = x.grad.tolist(), None
    d.utils.checkpoint.checkpoint_sequential(net, 2, x, use_reentrant=False).sum().backward()
    assert d.allclose(x.grad, d.tensor(want))
