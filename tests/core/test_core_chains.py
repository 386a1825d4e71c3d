"""Random chains of views, writes and indices: values as NumPy's, gradients as the reference's."""

import numpy as np
import pytest
from core_table import compare, leaf
from hypothesis import given, settings
from hypothesis import strategies as st

import distrib as d

quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)
SHAPE = (4, 3, 2)


# ---- keys against NumPy ----------------------------------------------------------------------------------
def slices(n):
    ends = st.one_of(st.none(), st.integers(-n - 1, n + 1))
    return st.builds(slice, ends, ends, st.one_of(st.none(), st.integers(1, 3)))


@st.composite
def basic_keys(draw):
    """Any tuple of ints, slices, None and one ellipsis that fits the shape."""
    count = draw(st.integers(0, len(SHAPE)))
    parts = [draw(st.one_of(st.integers(-n, n - 1), slices(n))) for n in SHAPE[:count]]
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(Ellipsis)
    return tuple(parts)


@st.composite
def list_keys(draw):
    """Slices with neighbouring index lists: there NumPy and PyTorch agree."""
    first = draw(st.integers(0, len(SHAPE) - 1))
    last = draw(st.integers(first, len(SHAPE) - 1))
    length = draw(st.integers(1, 4))
    key = []
    for i, n in enumerate(SHAPE):
        if first <= i <= last:
            key.append(draw(st.lists(st.integers(-n, n - 1), min_size=length, max_size=length)))
        else:
            key.append(draw(slices(n)))
    return tuple(key)


def numbers():
    return np.arange(np.prod(SHAPE), dtype="f4").reshape(SHAPE)


@quick
@given(basic_keys())
def test_basic_keys_are_views(key):
    a = numbers()
    x = d.from_numpy(a)
    got = x[key]
    assert np.array_equal(got.numpy(), a[key])
    assert got.numel() == 0 or np.shares_memory(got.numpy(), a)
    x[key] = -1.0
    want = numbers()
    want[key] = -1.0
    assert np.array_equal(a, want)


@quick
@given(list_keys())
def test_index_lists_are_copies(key):
    a = numbers()
    x = d.from_numpy(a)
    tensors = tuple(d.tensor(k) if isinstance(k, list) else k for k in key)
    assert np.array_equal(x[key].numpy(), a[key])
    assert np.array_equal(x[tensors].numpy(), a[key])
    x[tensors] = -1.0
    want = numbers()
    want[key] = -1.0
    assert np.array_equal(a, want)


@quick
@given(st.one_of(basic_keys(), list_keys()))
def test_gradient_of_a_key_counts_its_elements(key):
    x = d.from_numpy(numbers()).requires_grad_()
    x[key].sum().backward()
    want = np.zeros(SHAPE, "f4")
    np.add.at(want, key, 1.0)
    assert np.array_equal(x.grad.numpy(), want)


@quick
@given(st.lists(st.booleans(), min_size=12, max_size=12))
def test_masks(bits):
    mask = np.array(bits).reshape(4, 3)
    a = numbers()
    x = d.from_numpy(a).requires_grad_()
    y = x * 1.0
    assert np.array_equal(x[d.tensor(mask)].detach().numpy(), a[mask])
    y[d.tensor(mask)] = 0.0
    y.sum().backward()
    assert np.array_equal(x.grad.numpy(), np.where(mask[..., None], 0, 1) * np.ones(SHAPE))


# ---- chains against the reference ----------------------------------------------------------------------
VIEWS = {
    "t": lambda x: x.transpose(0, -1) if x.ndim else x.unsqueeze(0),
    "first": lambda x: x[0] if x.ndim > 1 else x[...],
    "rest": lambda x: x[1:] if x.ndim and x.shape[0] > 1 else x[None],
    "every other": lambda x: x[..., ::2] if x.ndim else x.view(1),
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "squeeze": lambda x: x.squeeze(),
    "narrow": lambda x: x.narrow(0, 0, x.shape[0] - 1) if x.ndim and x.shape[0] > 1 else x[...],
    "flat": lambda x: x.view(-1) if x.is_contiguous() else x.permute(*range(x.ndim)),
    "diagonal": lambda x: x.diagonal() if x.ndim > 1 else x[...],
    "reshape": lambda x: x.reshape(-1),
    "detach": lambda x: x.detach(),
}
WRITES = {
    "mul_": lambda x, w: x.mul_(w),
    "add_": lambda x, w: x.add_(w.exp()),
    "sin_": lambda x, w: x.sin_(),
    "copy_": lambda x, w: x.copy_(w.expand(x.shape)),
    "zero_": lambda x, w: x.zero_(),
    "div_": lambda x, w: x.div_(w + 2),
    "setitem": lambda x, w: x.__setitem__(Ellipsis, w * 3),
    "setitem 0": lambda x, w: x.__setitem__(0, w) if x.ndim else None,
    "masked": lambda x, w: x.__setitem__(x > 1.0, 0.5),
    "tanh_": lambda x, w: x.tanh_(),
    "square": lambda x, w: x.mul_(x.detach().clone()),
    "sub_": lambda x, w: x.sub_(w, alpha=2),
    "clamp_": lambda x, w: x.clamp_(0.6, 1.8),
    "add_ of a sum": lambda x, w: x.add_(x.sum()),
}
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(sorted(VIEWS)), st.integers(0, 5)),
        st.tuples(st.sampled_from(sorted(WRITES)), st.integers(0, 5)),
    ),
    min_size=2,
    max_size=8,
)


def program(m, chain):
    """Tensors grow by views and are written in any order; then everything is read."""
    x, w = leaf(m, 4, 3, 2), leaf(m, seed=1)
    alive = [x * 1.0]
    for name, which in chain:
        t = alive[which % len(alive)]
        if name in VIEWS:
            alive.append(VIEWS[name](t))
        else:
            WRITES[name](t, w)
    loss = sum((t * t * (i + 1)).sum() for i, t in enumerate(alive))
    found = m.autograd.grad(loss, [x, w], create_graph=True, allow_unused=True)
    second = sum((g * g).sum() for g in found if g is not None)
    again = [None, None]
    if second.requires_grad:
        again = m.autograd.grad(second, [x, w], allow_unused=True)
    wanted = (x, w, x, w)
    all_found = [m.zeros_like(t) if g is None else g for g, t in zip((*found, *again), wanted)]
    return (
        [t.detach() for t in alive],
        [t.requires_grad for t in alive],
        all_found,
        alive[0]._version,
    )


@settings(quick, max_examples=100)
@given(steps)
def test_chains_of_views_and_writes(chain):
    torch = pytest.importorskip("torch")
    compare(lambda m: program(m, chain), torch, rtol=1e-3, atol=1e-3)
