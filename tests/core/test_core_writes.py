"""Assignments, several views at once, metadata in place, expand: as the reference."""

import pytest
from core_table import Cases, compare, leaf

torch = pytest.importorskip("torch")
case = Cases()


# ---- setitem -----------------------------------------------------------------------------------------
@case
def setitem_index_tensor(m):
    x, w = leaf(m, 4, 3), leaf(m, 2, 3, seed=1)
    b = x * 2.0
    b[m.tensor([2, 0])] = w
    (b * b).sum().backward()
    return x.grad, w.grad, b._version


@case
def setitem_index_tensor_on_view(m):
    x, w = leaf(m, 4, 3), leaf(m, seed=1)
    b = x * 2.0
    v = b[1:, 1:]
    v[m.tensor([2, 0]), m.tensor([1, 1])] = w
    (b * b).sum().backward()
    return x.grad, w.grad, b


@case
def setitem_mask_scalar_and_tensor(m):
    x, w = leaf(m, 4), leaf(m, 2, seed=1)
    b = x * 1.0
    b[m.tensor([True, False, False, True])] = w * 3
    b[b < 1.0] = 0.25
    (b * b).sum().backward()
    return x.grad, w.grad, b


@case
def setitem_in_plain_base(m):
    w = leaf(m, 2)
    b = m.zeros(4)
    v = b[1:]
    b[m.tensor([1, 3])] = w
    (v * v).sum().backward()
    return w.grad, b.requires_grad, v


@case
def setitem_mixed_keys(m):
    b = m.arange(24.0).reshape(2, 3, 4)
    b[..., m.tensor([0, 2])] = -1.0
    b[1, :, m.tensor([1, 3])] = m.arange(6.0).reshape(3, 2)
    b[:, None, 0, 1::2] = 9
    b[m.tensor([[True, False, False], [False, True, False]])] = 0
    return b


@case
def getitem_mixed_keys(m):
    x = leaf(m, 3, 4, 5)
    i = m.tensor([0, 2])
    keys = [
        (0, slice(None), i), (i, slice(None), 1), (slice(None), i, i), (i, slice(None), i), (1, i),
        (Ellipsis, i), (None, i), (i, None, 0), (slice(0, 2), None, i, 1), (m.tensor(1), slice(1, 3), i),
        (x.detach()[..., 0] > 1,), (1, x.detach()[1] > 1), (slice(None), x.detach()[0] > 1, None),
        ([0, 2], [1, 1]), (m.tensor([[0], [2]]), i), (True, i), (m.tensor(True), 0),
    ]  # fmt: skip
    parts = [x[k] for k in keys]
    sum((p * p).sum() for p in parts).backward()
    return parts, x.grad


@case
def setitem_wrong_shape(m):
    m.zeros(3)[m.tensor([0, 1])] = m.ones(3)


@case
def setitem_out_of_range(m):
    m.zeros(3)[m.tensor([3])] = 1.0


@case
def setitem_leaf_is_error(m):
    leaf(m, 3)[m.tensor([0])] = 1.0


@case
def index_put_accumulates(m):
    x, w = leaf(m, 3), leaf(m, 4, seed=1)
    b = x * 1.0
    b.index_put_((m.tensor([0, 1, 1, 0]),), w, accumulate=True)
    (b * b).sum().backward()
    return x.grad, w.grad


@case
def index_with_repeats_sums(m):
    x = leaf(m, 3, 2)
    y = x[m.tensor([0, 2, 2, 2])]
    (y * y * m.arange(8.0).reshape(4, 2)).sum().backward()
    return x.grad


@case
def masked_fill_and_select(m):
    x = leaf(m, 2, 3)
    y = x.masked_fill(x > 1.2, 0.0)
    (y.sum() + x.masked_select(x > 1).pow(2).sum()).backward()
    return x.grad


# ---- outputs that are several views ------------------------------------------------------------------------
@case
def split_views_read(m):
    x = leaf(m, 5, 2)
    a, b, c = (x * 1.0).split(2)
    (a.sum() * 2 + (b * b).sum() + c.exp().sum()).backward()
    return x.grad, [t.is_leaf for t in (a, b, c)]


@case
def chunk_and_unbind_read(m):
    x = leaf(m, 4, 3)
    p, _ = x.chunk(2, 1)
    rows = x.unbind(0)
    (p * p).sum().backward()
    (rows[0] * rows[3]).sum().backward()
    return x.grad


@case
def split_output_inplace_is_error(m):
    a, _ = (leaf(m, 4) * 1.0).split(2)
    a.mul_(2.0)


@case
def chunk_output_inplace_is_error(m):
    (leaf(m, 4) * 1.0).chunk(2)[0].add_(1)


@case
def unbind_output_inplace_is_error(m):
    (leaf(m, 4, 2) * 1.0).unbind()[1].zero_()


@case
def split_of_plain_may_be_written(m):
    b = m.zeros(4)
    first, _ = b.split(2)
    first.add_(1)
    b.chunk(2)[1].mul_(3).sub_(1)
    return b, b._version


@case
def base_write_after_split(m):
    x = leaf(m, 4)
    b = x * 1.0
    first, last = b.split(2)
    b.mul_(2.0)
    return b, first.detach(), last.detach(), b._version, first._version


# ---- metadata in place ----------------------------------------------------------------------------------
@case
def squeeze_inplace(m):
    x = leaf(m, 1, 3, 1)
    y = x * 2.0
    y.squeeze_()
    z = y * y
    z.sum().backward()
    return x.grad, tuple(y.shape), y._version


@case
def unsqueeze_transpose_inplace(m):
    x = leaf(m, 2, 3)
    y = x * 2.0
    y.unsqueeze_(0).transpose_(1, 2)
    (y * m.arange(6.0).reshape(1, 3, 2)).sum().backward()
    return x.grad, tuple(y.shape), y.stride()


@case
def t_inplace(m):
    y = m.arange(6.0).reshape(2, 3)
    y.t_()
    return y, y.stride(), y._version


@case
def squeeze_inplace_of_leaf_is_error(m):
    leaf(m, 1, 2).squeeze_()


@case
def squeeze_inplace_of_leaf_under_no_grad(m):
    x = leaf(m, 1, 3)
    with m.no_grad():
        x.squeeze_()
    (x * x).sum().backward()
    return x.grad, x.is_leaf, x._version


@case
def unsqueeze_inplace_then_write(m):
    x = leaf(m, 3)
    y = x * 2.0
    v = y[1:]
    y.unsqueeze_(0)
    y.mul_(3.0)
    (y * y).sum().backward(retain_graph=True)
    v.sum().backward()
    return x.grad, y._version, v.detach()


@case
def write_through_a_view_after_transpose_inplace(m):
    x = leaf(m, 2, 3)
    y = x * 1.0
    v = y[0]
    y.t_()
    v.mul_(2.0)
    u = y[0]
    u.mul_(v[:2].detach())
    (y * m.arange(6.0).reshape(3, 2)).sum().backward()
    return x.grad, y


@case
def metadata_inplace_of_a_view(m):
    b = m.zeros(2, 3)
    v = b[0]
    v.unsqueeze_(1)
    v[1, 0] = 5.0
    b.add_(1)
    return b, v, tuple(v.shape), b._version


@case
def written_by_itself_is_error(m):
    y = leaf(m, 3) * 1.0
    y.mul_(y)
    y.sum().backward()


@case
def operand_that_shares_memory_is_error(m):
    y = leaf(m, 3) * 1.0
    y.mul_(y.detach())
    y.sum().backward()


@case
def infinite_gradient_of_what_was_overwritten(m):
    x = leaf(m, 3)
    b = x * 1.0
    b[0] = 0.0
    b[1].copy_(m.zeros(()))
    b[m.tensor([2])] = 0.0
    b.sqrt().sum().backward()
    return x.grad


# ---- expand -----------------------------------------------------------------------------------------------
@case
def expand_backward(m):
    x = leaf(m, 3, 1)
    y = x.expand(2, 3, 4)
    (y * y * m.arange(24.0).reshape(2, 3, 4)).sum().backward()
    return x.grad, y.stride()


@case
def expand_gradient_of_sum_is_writable(m):
    x = leaf(m, 3)
    x.sum().backward()
    x.grad.add_(1.0)
    x.sum().backward()
    return x.grad, x.grad.stride(), x.grad.is_contiguous()


@case
def expanded_write_is_error(m):
    m.zeros(1).expand(3).add_(m.ones(3))


@case
def expand_as_broadcast_to(m):
    x = leaf(m, 1, 3)
    y = x.expand_as(m.zeros(2, 3)) + x.broadcast_to(4, 1, 3)
    y.pow(2).sum().backward()
    return x.grad, tuple(y.shape)


@case
def expand_of_more_dims_is_error(m):
    leaf(m, 2, 3).expand(3)


@case.parametrize()
def test_same(case):
    compare(case, torch)
