"""Every fill against PyTorch: the same bits and the same generator state after each call."""

import itertools
import random

import ml_dtypes
import numpy as np
import pytest

from distrib import config
from distrib.random import Generator, fill, sampling

torch = pytest.importorskip("torch")

BF16 = np.dtype(ml_dtypes.bfloat16)
RAW = {
    torch.float16: np.dtype("f2"), torch.bfloat16: BF16, torch.float32: np.dtype("f4"),
    torch.float64: np.dtype("f8"), torch.complex64: np.dtype("c8"),
    torch.complex128: np.dtype("c16"), torch.uint8: np.dtype("u1"), torch.int8: np.dtype("i1"),
    torch.int16: np.dtype("i2"), torch.int32: np.dtype("i4"), torch.int64: np.dtype("i8"),
    torch.bool: np.dtype("?"),
}  # fmt: skip
FLOAT = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
COMPLEX = [torch.complex64, torch.complex128]
INT = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]
SIGNED = [*FLOAT, *INT[:-1]]
SIZES = [0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 100, 1000]


def one_word_masks():
    """Whether this build of PyTorch leaves bernoulli and exponential to MKL on this processor."""
    g = torch.Generator().manual_seed(1)
    torch.empty(8).bernoulli_(0.3, generator=g)
    return g.get_state()[16].item() != 16


# name: dtypes, PyTorch's call, our call
OPS = {
    "uniform": (FLOAT + COMPLEX, lambda t, g: t.uniform_(generator=g), (fill.uniform, 0, 1)),
    "uniform sym": (
        FLOAT,
        lambda t, g: t.uniform_(-0.577, 0.577, generator=g),
        (fill.uniform, -0.577, 0.577),
    ),
    "uniform end": (FLOAT, lambda t, g: t.uniform_(2, 3, generator=g), (fill.uniform, 2, 3)),
    "uniform fma": (FLOAT, lambda t, g: t.uniform_(-5, 9.1, generator=g), (fill.uniform, -5, 9.1)),
    "normal": (FLOAT + COMPLEX, lambda t, g: t.normal_(generator=g), (fill.normal, 0, 1)),
    "normal shifted": (
        FLOAT + COMPLEX,
        lambda t, g: t.normal_(0.3, 1.7, generator=g),
        (fill.normal, 0.3, 1.7),
    ),
    "log_normal": (
        FLOAT,
        lambda t, g: t.log_normal_(0.3, 0.7, generator=g),
        (fill.log_normal, 0.3, 0.7),
    ),
    "cauchy": (FLOAT, lambda t, g: t.cauchy_(1.3, 0.3, generator=g), (fill.cauchy, 1.3, 0.3)),
    "geometric": (FLOAT + INT, lambda t, g: t.geometric_(0.3, generator=g), (fill.geometric, 0.3)),
    "random": (
        [*FLOAT, *INT, torch.bool],
        lambda t, g: t.random_(generator=g),
        (fill.random, None, None),
    ),
    "random 7": (FLOAT + INT, lambda t, g: t.random_(7, generator=g), (fill.random, 0, 7)),
    "random -8 8": (SIGNED, lambda t, g: t.random_(-8, 8, generator=g), (fill.random, -8, 8)),
    "random from": (
        SIGNED,
        lambda t, g: t.random_(-3, None, generator=g),
        (fill.random, -3, None),
    ),
    "random one word": (
        [torch.int64, torch.int32, torch.float64],
        lambda t, g: t.random_(-5, 2**28 - 6, generator=g),
        (fill.random, -5, 2**28 - 6),
    ),
    "random two words": (
        [torch.int64, torch.int32, torch.float64],
        lambda t, g: t.random_(-5, 2**28 - 5, generator=g),
        (fill.random, -5, 2**28 - 5),
    ),
    "random wide": (
        [torch.int64],
        lambda t, g: t.random_(-(2**62), 2**62 + 12345, generator=g),
        (fill.random, -(2**62), 2**62 + 12345),
    ),
    "random all": (
        [torch.int64],
        lambda t, g: t.random_(-(2**63), None, generator=g),
        (fill.random, -(2**63), None),
    ),
}
if not one_word_masks():
    OPS["bernoulli"] = (
        [*FLOAT, *INT, torch.bool],
        lambda t, g: t.bernoulli_(0.3, generator=g),
        (fill.bernoulli, 0.3),
    )
    OPS["bernoulli half"] = (
        [torch.float32, torch.bool],
        lambda t, g: t.bernoulli_(0.5, generator=g),
        (fill.bernoulli, 0.5),
    )
    OPS["exponential"] = (
        FLOAT,
        lambda t, g: t.exponential_(1.3, generator=g),
        (fill.exponential, 1.3),
    )


def layouts(n):
    """The same layout in both libraries: contiguous, stepped, transposed, channels_last, sliced."""
    yield lambda make: make(n)
    if n in (7, 16, 33):
        yield lambda make: make(2 * n)[::2]
        yield lambda make: make((n, 5)).T
        yield lambda make: make((2, 3, 4, n)).transpose(1, 3)
        yield lambda make: make((n, 5))[:, 1:3]


def bits(array):
    array = np.ascontiguousarray(array)
    return array.view(np.uint8)


def raw(tensor):
    if tensor.dtype == torch.bfloat16:
        return tensor.float().numpy().astype(BF16)
    return tensor.numpy()


def numpy_twin(dtype, layout):
    class Base(np.ndarray):
        def transpose(self, *dims):
            return self.swapaxes(*dims) if len(dims) == 2 else np.ndarray.transpose(self, *dims)

    return layout(lambda shape: np.zeros(shape, RAW[dtype]).view(Base)).view(np.ndarray)


@pytest.fixture(params=[False, True], ids=["numpy", "kernels"])
def pair(request):
    """A generator of each library, seeded alike; ours with and without the C++ engine."""
    with config.override(DISTRIB_KERNELS=request.param):
        ours = Generator().manual_seed(11)
        ours.words(0)
    return ours, torch.Generator().manual_seed(11)


def test_same_bits_and_state_in_any_order(pair):
    ours, theirs = pair
    cases = [
        (name, dtype, layout)
        for name, (dtypes, _, _) in OPS.items()
        for dtype, n in itertools.product(dtypes, SIZES)
        for layout in layouts(n)
    ]
    random.Random(3).shuffle(cases)
    for name, dtype, layout in cases:
        _, call, (ours_call, *args) = OPS[name]
        want = layout(lambda shape, dtype=dtype: torch.zeros(shape, dtype=dtype))
        got = numpy_twin(dtype, layout)
        label = (name, dtype, got.shape, got.strides)
        if got.size:
            assert got.strides == tuple(s * want.element_size() for s in want.stride()), label
        call(want, theirs)
        ours_call(got, *args, ours)
        np.testing.assert_array_equal(bits(got), bits(raw(want)), str(label))
        assert np.array_equal(ours.get_state()._a, theirs.get_state().numpy()), label


@pytest.mark.parametrize("dtype", FLOAT)
def test_bernoulli_of_probabilities(pair, dtype):
    ours, theirs = pair
    p = torch.rand(300, generator=torch.Generator().manual_seed(1)).to(dtype)
    for target in (torch.float32, torch.bool, torch.int64):
        want = torch.empty(300, dtype=target).bernoulli_(p, generator=theirs)
        got = np.empty(300, RAW[target])
        fill.bernoulli_each(got, raw(p), ours)
        assert np.array_equal(got, want.numpy())
    want = torch.empty(20, 15).t().bernoulli_(p.view(15, 20), generator=theirs)
    got = np.empty((20, 15), np.float32).T
    fill.bernoulli_each(got, raw(p).reshape(15, 20), ours)
    assert np.array_equal(got, want.numpy())
    assert np.array_equal(ours.get_state()._a, theirs.get_state().numpy())


def test_permutations(pair):
    ours, theirs = pair
    for n in (0, 1, 2, 5, 100, 1000, 70000):
        for dtype in (torch.int64, torch.int32, torch.float32):
            want = torch.randperm(n, dtype=dtype, generator=theirs).numpy()
            got = sampling.permutation(n, RAW[dtype], ours)
            assert got.dtype == want.dtype
            assert np.array_equal(got, want)
    assert np.array_equal(ours.get_state()._a, theirs.get_state().numpy())


@pytest.mark.parametrize("dtype", FLOAT)
def test_multinomial(pair, dtype):
    ours, theirs = pair
    p = torch.rand(6, 50, generator=torch.Generator().manual_seed(1)).to(dtype)
    p[0, 3] = 0
    samples = [(1, True), (200, True)]
    if not one_word_masks():
        samples += [(1, False)]
        # in the half types several ratios are equal, and PyTorch's order of those is its topk's
        samples += [(6, False), (50, False)] if dtype.itemsize > 2 else []
    for weights in (p, p[0], p.t()[:40]):
        for n, replacement in samples:
            if n > weights.shape[-1] and not replacement:
                continue
            if (n == 1 or not replacement) and one_word_masks():
                continue
            want = torch.multinomial(weights, n, replacement, generator=theirs)
            host = weights.float().numpy().astype(RAW[dtype]) if dtype == torch.bfloat16 else None
            got = sampling.multinomial(
                weights.numpy() if host is None else host, n, replacement, ours
            )
            assert np.array_equal(got, want.numpy()), (n, replacement, weights.shape)
    assert np.array_equal(ours.get_state()._a, theirs.get_state().numpy())


def test_many_classes_use_the_running_sum_of_the_dtype(pair):
    ours, theirs = pair
    p = torch.rand(100_000, generator=torch.Generator().manual_seed(1))
    want = torch.multinomial(p, 5000, True, generator=theirs).numpy()
    assert np.array_equal(sampling.multinomial(p.numpy(), 5000, True, ours), want)


def test_states_are_interchangeable(pair):
    ours, theirs = pair
    torch.randn(5, generator=theirs)
    torch.rand(700, generator=theirs)
    from distrib.tensor import wrap

    ours.set_state(wrap(theirs.get_state().numpy().copy()))
    assert ours.initial_seed() == theirs.initial_seed()
    got = np.empty(9)
    fill.normal(got, 0, 1, ours)
    assert np.array_equal(got, torch.randn(9, dtype=torch.float64, generator=theirs).numpy())
    theirs.set_state(torch.from_numpy(ours.get_state()._a.copy()))
    fill.normal(got, 0, 1, ours)
    assert np.array_equal(got, torch.randn(9, dtype=torch.float64, generator=theirs).numpy())
