"""Views, writes in place, versions: value, gradient and whether it raises agree with the reference."""

import numpy as np
import pytest
from core_table import Cases, compare, leaf

torch = pytest.importorskip("torch")
case = Cases()


# ---- the prototype's --------------------------------------------------------------------------------
@case
def inplace_on_view_rebases_base(m):
    x, w = leaf(m, 3, 4), leaf(m, 4, seed=1)
    b = x * 2.0
    v = b[1]
    v.mul_(w)
    (b * b).sum().backward()
    return x.grad, w.grad


@case
def inplace_on_base_refreshes_views(m):
    x, w = leaf(m, 3, 4), leaf(m, 3, 4, seed=1)
    b = x * 2.0
    v, u = b[1], b[1:].reshape(8)
    b.mul_(w)
    (v * v).sum().backward(retain_graph=True)
    (u * u * u).sum().backward()
    return x.grad, w.grad, b._version == v._version


@case
def view_of_plain_base_then_write_with_grad(m):
    b, w = m.zeros(3, 4), leaf(m, 4)
    v, sibling = b[0], b[0, 1:]
    v.copy_(w)
    (b.sum() + (sibling * sibling).sum()).backward()
    return w.grad, b.requires_grad, sibling.requires_grad


@case
def view_of_view_and_overlap(m):
    x, w = leaf(m, 4, 4), leaf(m, 2, seed=2)
    b = x * 1.0
    v = b[1:].transpose(0, 1)
    u = v[1:3, 0]
    u.mul_(w)
    v.add_(1.0)
    (b * b * x).sum().backward()
    return x.grad, w.grad


@case
def setitem(m):
    x, w = leaf(m, 3, 4), leaf(m, 4, seed=1)
    b = x * 2.0
    b[2] = w
    b[0, 0] = 5.0
    (b * b).sum().backward()
    return x.grad, w.grad


@case
def leaf_inplace_is_error(m):
    leaf(m, 3).add_(1.0)


@case
def leaf_view_inplace_is_error(m):
    leaf(m, 3)[0:1].add_(1.0)


@case
def leaf_inplace_no_grad(m):
    x = leaf(m, 3)
    with m.no_grad():
        x.add_(1.0)
    return x, x._version


@case
def saved_input_modified(m):
    y = leaf(m, 3) * 1.0
    z = y * y
    y.add_(1.0)
    z.sum().backward()


@case
def saved_output_modified(m):
    y = leaf(m, 3).exp()
    y.mul_(2.0)
    y.sum().backward()


@case
def saved_output_modified_through_detach(m):
    y = leaf(m, 3).exp()
    y.detach().zero_()
    y.sum().backward()


@case
def saved_output_modified_through_data_goes_unnoticed(m):
    x = leaf(m, 3)
    y = x.exp()
    y.data.zero_()
    y.sum().backward()
    return x.grad, y._version


@case
def saved_modified_through_view(m):
    y = leaf(m, 3) * 1.0
    z = y * y
    y[0:1].zero_()
    z.sum().backward()


@case
def unsaved_may_be_modified(m):
    x = leaf(m, 3)
    y = x * 3.0
    z = y + 1.0
    y.mul_(2.0)
    (z + y).sum().backward()
    return x.grad


@case
def inplace_saves_output(m):
    x = leaf(m, 3)
    y = x * 1.0
    y.exp_()
    y.sigmoid_()
    y.sum().backward()
    return x.grad


@case
def inplace_exp_then_error(m):
    y = leaf(m, 3) * 1.0
    y.exp_()
    y.add_(1.0)
    y.sum().backward()


@case
def double_backward(m):
    x = leaf(m, 3)
    y = (x.exp() * x / (x.sigmoid() + 1.0) + x**3).sum()
    (g,) = m.autograd.grad(y, [x], create_graph=True)
    (h,) = m.autograd.grad((g * g).sum(), [x], create_graph=True)
    h.sum().backward()
    return g, h, x.grad


@case
def double_backward_through_inplace_view(m):
    x, w = leaf(m, 3, 2), leaf(m, 2, seed=1)
    b = x * 1.0
    b[1].mul_(w)
    (g,) = m.autograd.grad((b * b * b).sum(), [x], create_graph=True)
    (g * g).sum().backward()
    return g, x.grad, w.grad


@case
def integer_leaf_is_error(m):
    m.tensor(np.arange(3)).requires_grad_()


@case
def nonleaf_off_is_error(m):
    (leaf(m, 3) * 1.0).requires_grad_(False)


@case
def inplace_dtype_is_error(m):
    m.tensor(np.arange(3)).add_(1.5)


@case
def broadcast_sums(m):
    a, b = leaf(m, 3, 1), leaf(m, 2, 1, 4, seed=1)
    (a * b + a).sum().backward()
    return a.grad, b.grad


@case
def mixed_dtypes_grad(m):
    a, b = leaf(m, 3), leaf(m, 3, dtype="f8", seed=1)
    (a * b).sum().backward()
    return a.grad, b.grad


@case
def shared_subexpression(m):
    x = leaf(m, 3)
    y = x.exp()
    (y * y + y + y * x).sum().backward()
    return x.grad


@case
def adamw(m):
    lin = m.nn.Linear(4, 3)
    with m.no_grad():
        for p in lin.parameters():
            p.copy_(leaf(m, *p.shape).detach())
    opt = m.optim.AdamW(lin.parameters(), lr=1e-2)
    x = leaf(m, 5, 4, seed=4).detach()
    for _ in range(4):
        opt.zero_grad()
        y = lin(x)
        (y * y).sum().backward()
        opt.step()
    return lin.weight, lin.bias


# ---- orders of writes --------------------------------------------------------------------------------
@case
def write_view_then_base_then_view(m):
    x, w = leaf(m, 3, 4), leaf(m, 4, seed=1)
    b = x * 1.0
    v, u = b[0], b[:, 1]
    v.mul_(w)
    b.mul_(3.0)
    u.add_(v[0])
    b.sin_()
    (b * x).sum().backward()
    return x.grad, w.grad, b, v, u


@case
def siblings_see_each_other(m):
    x, w = leaf(m, 4), leaf(m, 2, seed=1)
    b = x * 1.0
    first, last, mid = b[:2], b[2:], b[1:3]
    first.mul_(w)
    last.mul_(mid.detach())
    mid.exp_()
    return m.autograd.grad((first.sum() * 2 + last.sum() + (mid * mid).sum()), [x, w])


@case
def view_made_after_the_write(m):
    x = leaf(m, 2, 3)
    b = x * 1.0
    b[0].mul_(5.0)
    v = b.t()[1]
    v.mul_(b.sum())
    b.sum().backward()
    return x.grad, v.is_contiguous(), b._version


@case
def copy_broadcasts_and_casts(m):
    w = leaf(m, 3, dtype="f8")
    b = m.zeros(2, 3)
    b.copy_(w)
    b.sum().backward()
    return w.grad, b


@case
def copy_through_a_permuted_view(m):
    x, w = leaf(m, 2, 3, 4), leaf(m, 4, 2, seed=3)
    b = x * 1.0
    b.permute(2, 0, 1)[:, :, 1].copy_(w)
    (b**3).sum().backward()
    return x.grad, w.grad


@case
def write_of_itself(m):
    x = leaf(m, 4)
    b = x * 1.0
    b[:2] = b[2:] * b[:2]
    b[1:] += b[:-1].clone()
    (b * b).sum().backward()
    return x.grad, b


@case
def zero_and_fill_cut_the_history(m):
    x, s = leaf(m, 4), leaf(m)
    b = x * 2.0
    b[:1].zero_()
    b[1:2].fill_(3.0)
    b[2:3].fill_(s)
    b.sum().backward()
    return x.grad, s.grad, b


@case
def base_written_after_view_died(m):
    x = leaf(m, 3)
    b = x * 1.0
    b[0:2].mul_(2.0)
    b.mul_(b.detach().clone())
    b.sum().backward()
    return x.grad


@case
def data_swap(m):
    x = leaf(m, 3)
    x.data = m.ones(5)
    y = (x * x).sum()
    y.backward()
    return x, x.grad, x.is_leaf


@case
def data_has_its_own_versions(m):
    x = leaf(m, 3)
    d = x.data
    d.add_(1)
    return x._version, d._version, x.detach().add_(1)._version, x._version, d.requires_grad


@case
def versions_of_views(m):
    b = m.zeros(3, 4)
    seen = [b._version]
    v = b[0]
    v.add_(1)
    seen += [b._version, v._version, b.t()._version]
    b.t()[1:].copy_(m.ones(3, 3))
    w = b.view(12)
    w[0] = 5
    w[m.tensor([1, 2])] = 7.0
    seen += [b._version, v._version, w._version, b.clone()._version]
    return seen


@case
def relu_inplace_and_where(m):
    x = leaf(m, 5)
    y = x - 1.0
    y.relu_()
    y[y > 0.5] = 0.5
    (y * x).sum().backward()
    return x.grad, y


@case.parametrize()
def test_same(case):
    compare(case, torch)
