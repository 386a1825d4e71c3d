"""The meta device: shapes, dtypes and strides without memory, as those of real tensors."""

import tracemalloc

import pytest

import distrib as d
from distrib.nn import functional as F

X, Y, V, W4 = (4, 6), (4, 6), (6,), (2, 3, 8, 8)
OPERATORS = {
    "add": (lambda x, y: x + y, X, V),
    "sub scalar": (lambda x: x - 2, X),
    "mul int and float": (lambda x: x.long() * 1.5, X),
    "div of ints": (lambda x: x.int() / 2, X),
    "pow": (lambda x: x**2, X),
    "comparison": (lambda x, y: x > y, X, Y),
    "where": (lambda x, y: d.where(x > y, x, y), X, Y),
    "maximum": (d.maximum, X, V),
    "clamp": (lambda x: x.clamp(0, 1), X),
    "exp": (d.exp, X),
    "sqrt of ints": (lambda x: x.int().sqrt(), X),
    "exp of transposed": (lambda x: x.t().exp(), X),
    "mul of transposed": (lambda x, y: x.t() * y.t(), X, Y),
    "double of permuted": (lambda x: x.permute(1, 3, 0, 2).double(), W4),
    "neg": (lambda x: -x, X),
    "abs of complex": (lambda x: x.to(d.complex64).abs(), X),
    "sigmoid": (d.sigmoid, X),
    "relu": (d.relu, X),
    "gelu": (F.gelu, X),
    "softmax": (lambda x: x.softmax(-1), X),
    "log_softmax": (lambda x: F.log_softmax(x, 0), X),
    "sum": (lambda x: x.sum(), X),
    "sum of a dim": (lambda x: x.sum(1, keepdim=True), X),
    "sum of bools": (lambda x: (x > 0).sum(0), X),
    "mean": (lambda x: x.mean((0, 1)), X),
    "var": (lambda x: x.var(1), X),
    "amax": (lambda x: x.amax(0), X),
    "max with indices": (lambda x: x.max(1), X),
    "argmax": (lambda x: x.argmax(1), X),
    "cumsum": (lambda x: x.cumsum(0), X),
    "prod": (lambda x: x.prod(0), X),
    "any": (lambda x: (x > 0).any(1), X),
    "matmul": (lambda x, y: x @ y.t(), X, Y),
    "batched matmul": (lambda x, y: x.expand(3, 4, 6) @ y.t(), X, Y),
    "matrix vector": (lambda x, v: x @ v, X, V),
    "linear": (F.linear, X, Y, (4,)),
    "einsum": (lambda x, y: d.einsum("ij,kj->ik", x, y), X, Y),
    "outer": (d.outer, V, V),
    "transpose": (lambda x: x.t(), X),
    "reshape": (lambda x: x.reshape(3, 8), X),
    "reshape that copies": (lambda x: x.t().reshape(8, 3), X),
    "permute": (lambda x: x.permute(0, 2, 3, 1), W4),
    "expand": (lambda x: x.expand(2, 4, 6), X),
    "slice": (lambda x: x[1:, ::2], X),
    "select": (lambda x: x[1], X),
    "index": (lambda x: x[d.zeros(3, dtype=d.int64, device=x.device)], X),
    "cat": (lambda x, y: d.cat([x, y]), X, Y),
    "stack": (lambda x, y: d.stack([x, y], 1), X, Y),
    "split": (lambda x: x.split(4, 1), X),
    "chunk": (lambda x: x.chunk(2), X),
    "flip": (lambda x: x.flip(0), X),
    "roll": (lambda x: x.roll(1, 0), X),
    "pad": (lambda x: F.pad(x, (1, 2)), X),
    "unfold": (lambda x: x.unfold(1, 2, 2), X),
    "contiguous": (lambda x: x.t().contiguous(), X),
    "clone": (lambda x: x.t().clone(), X),
    "to double": (lambda x: x.double(), X),
    "zeros_like": (d.zeros_like, X),
    "new_zeros": (lambda x: x.new_zeros(3), X),
    "tril": (d.tril, X),
    "gather": (lambda x: x.gather(1, d.zeros(4, 2, dtype=d.int64, device=x.device)), X),
    "index_select": (lambda x: x.index_select(1, d.zeros(3, dtype=d.int64, device=x.device)), X),
    "sort": (lambda x: x.sort(1), X),
    "topk": (lambda x: x.topk(2), X),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (6,), w, b), X, V, V),
    "batch_norm": (lambda x, w: F.batch_norm(x, None, None, w, None, True), X, V),
    "conv2d": (lambda x, w: F.conv2d(x, w, padding=1), W4, (5, 3, 3, 3)),
    "max_pool2d": (lambda x: F.max_pool2d(x, 2), W4),
    "avg_pool2d": (lambda x: F.avg_pool2d(x, 2), W4),
    "interpolate": (lambda x: F.interpolate(x, scale_factor=2.0), W4),
    "embedding": (lambda w: F.embedding(d.zeros(5, dtype=d.int64, device=w.device), w), X),
    "cross_entropy": (lambda x: F.cross_entropy(x, d.zeros(4, dtype=d.int64, device=x.device)), X),
    "mse_loss": (F.mse_loss, X, Y),
    "dropout": (lambda x: F.dropout(x, 0.5), X),
    "attention": (F.scaled_dot_product_attention, W4, W4, W4),
    "add_": (lambda x, y: x.add_(y), X, V),
    "setitem": (lambda x: x.__setitem__(0, 1.0) or x, X),
    "norm": (lambda x: x.norm(dim=1), X),
    "one_hot": (lambda x: F.one_hot(x.long(), 7), V),
    "logical": (lambda x: ~(x > 0) & (x < 1), X),
    "unsqueeze": (lambda x: x.unsqueeze(1).squeeze(1), X),
}


KERNELS_OWN = {
    "attention",
    "index_select",
    "interpolate",
}  # their results lie in memory as the kernel likes


def described(out, strides=True):
    outs = out if isinstance(out, tuple) else (out,)
    parts = [(tuple(t.shape), t.dtype, t.requires_grad) for t in outs]
    return parts, strides and [(t.stride(), t.is_contiguous()) for t in outs]


@pytest.mark.parametrize("name", OPERATORS)
def test_as_the_real_one(name):
    f, *shapes = OPERATORS[name]
    real = f(*(d.ones(s) for s in shapes))
    meta = f(*(d.ones(s, device="meta") for s in shapes))
    free = name not in KERNELS_OWN
    assert described(meta, free) == described(real, free)
    assert all(t.is_meta for t in (meta if isinstance(meta, tuple) else (meta,)))


def test_backward():
    shapes = {}
    for device in ("cpu", "meta"):
        net = d.nn.Sequential(
            d.nn.Conv2d(3, 4, 3), d.nn.BatchNorm2d(4), d.nn.ReLU(), d.nn.MaxPool2d(2), d.nn.Flatten(),
            d.nn.Linear(36, 5), d.nn.LayerNorm(5),
        ).to(device)  # fmt: skip
        x = d.ones(2, 3, 8, 8, device=device, requires_grad=True)
        target = d.zeros(2, dtype=d.int64, device=device)
        F.cross_entropy(net(x), target).backward()
        assert x.grad.device.type == device
        shapes[device] = [described(p.grad) for p in [x, *net.parameters()]]
    assert shapes["cpu"] == shapes["meta"]


def test_huge_takes_no_memory():
    tracemalloc.start()
    x = d.empty(2**20, 2**20, device="meta", requires_grad=True)
    y = ((x @ x.t()).relu() + 1)[1:].sum(0)
    y.mean().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.grad.shape == x.shape
    assert x.numel() == 2**40
    assert x.data_ptr() == 0
    assert peak < 2**20


@pytest.mark.parametrize(
    ("f", "kind"),
    [
        (lambda x: x.item(), RuntimeError),
        (lambda x: x.tolist(), (RuntimeError, NotImplementedError)),
        (lambda x: x.numpy(), (RuntimeError, TypeError)),
        (lambda x: bool(x), (RuntimeError, NotImplementedError)),
        (lambda x: x.to("cpu"), (RuntimeError, NotImplementedError)),
        (lambda x: x + d.ones(1, 1), RuntimeError),
        (
            lambda x: (
                x.reshape(1) + d.ones(2, 2, device="meta").view(4)[:3].view(3, 1) @ x.view(7, 1)
            ),
            RuntimeError,
        ),
        (lambda x: d.cat([x, x.expand(2, 2)], 0), RuntimeError),
        (lambda x: x.nonzero(), (RuntimeError, NotImplementedError)),
        (lambda x: x @ d.ones(2, 2, device="meta"), RuntimeError),
        (lambda x: x.view(7), RuntimeError),
    ],
)
def test_errors(f, kind):
    with pytest.raises(kind):
        f(d.ones(1, 1, device="meta"))
