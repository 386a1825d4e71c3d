"""User functions: contexts, several outputs, in place, double backward; compared with the reference."""

import pytest
from core_table import Cases, compare, leaf

torch = pytest.importorskip("torch")
case = Cases()


def function(m, **parts):
    """A Function of static methods."""
    return type("Made", (m.autograd.Function,), {k: staticmethod(v) for k, v in parts.items()})


@case
def saved_tensors(m):
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x * w

    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g * w, g * x

    x, w = leaf(m, 3), leaf(m, 3, seed=1)
    y = function(m, forward=forward, backward=backward).apply(x, w)
    y.sum().backward()
    return x.grad, w.grad, y.grad_fn.name(), y.is_leaf


@case
def saved_none_and_output(m):
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(None, y)
        return y

    def backward(ctx, g):
        nothing, y = ctx.saved_tensors
        assert nothing is None
        return g * y

    x = leaf(m, 3)
    f = function(m, forward=forward, backward=backward)
    (g,) = m.autograd.grad(f.apply(x).sum(), x, create_graph=True)
    return g, m.autograd.grad(g.sum(), x)


@case
def saved_output_modified_is_error(m):
    def forward(ctx, x):
        y = x.exp()
        ctx.save_for_backward(y)
        return y

    def backward(ctx, g):
        return g * ctx.saved_tensors[0]

    y = function(m, forward=forward, backward=backward).apply(leaf(m, 3))
    y.mul_(2)
    y.sum().backward()


@case
def saved_input_modified_is_error(m):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * 2

    def backward(ctx, g):
        return g * ctx.saved_tensors[0]

    x = leaf(m, 3) * 1
    y = function(m, forward=forward, backward=backward).apply(x)
    x.add_(1)
    y.sum().backward()


def split(m, **flags):
    def forward(ctx, x):
        ctx.set_materialize_grads(flags.get("materialize", True))
        a, b, i = x[:2] * 2, x[2:] * 3, (x > 1).long()
        ctx.mark_non_differentiable(i)
        if flags.get("plain"):
            ctx.mark_non_differentiable(b, i)
        return a, b, i

    def backward(ctx, ga, gb, gi):
        if flags.get("materialize", True):
            assert ga is not None
        zero = m.zeros(2)
        return m.cat([zero if ga is None else ga * 2, zero if gb is None else gb * 3])

    return function(m, forward=forward, backward=backward)


@case
def several_outputs(m):
    x = leaf(m, 4)
    a, b, i = split(m).apply(x)
    (a * b).sum().backward()
    return x.grad, a.requires_grad, i.requires_grad, a.output_nr, b.output_nr, i.grad_fn


@case
def several_outputs_one_used(m):
    x = leaf(m, 4)
    split(m).apply(x)[1].sum().backward()
    return x.grad


@case
def several_outputs_none_comes(m):
    x = leaf(m, 4)
    split(m, materialize=False).apply(x)[1].sum().backward()
    return x.grad


@case
def non_differentiable_output(m):
    x = leaf(m, 4)
    a, b, _ = split(m, plain=True).apply(x)
    a.sum().backward()
    return x.grad, b.requires_grad


@case
def backward_of_non_differentiable_is_error(m):
    split(m, plain=True).apply(leaf(m, 4))[1].sum().backward()


@case
def tuple_of_one(m):
    f = function(m, forward=lambda ctx, x: (x * 2,), backward=lambda ctx, g: g * 2)
    x = leaf(m, 3)
    y = f.apply(x)
    y[0].sum().backward()
    return type(y) is tuple, x.grad


@case
def output_that_is_no_tensor(m):
    f = function(m, forward=lambda ctx, x: (x * 2, "text", None), backward=lambda ctx, g, *_: g * 2)
    x = leaf(m, 3)
    y, text, nothing = f.apply(x)
    y.sum().backward()
    return x.grad, text, nothing


@case
def dirty(m):
    def forward(ctx, x):
        x.mul_(3)
        ctx.mark_dirty(x)
        return x

    f = function(m, forward=forward, backward=lambda ctx, g: g * 3)
    x = leaf(m, 3)
    y = x * 1
    z = f.apply(y)
    z.sum().backward()
    return z is y, y._version, y.grad_fn.name(), x.grad


@case
def dirty_leaf_is_error(m):
    def forward(ctx, x):
        x.mul_(3)
        ctx.mark_dirty(x)
        return x

    function(m, forward=forward, backward=lambda ctx, g: g * 3).apply(leaf(m, 3))


@case
def dirty_view(m):
    def forward(ctx, x):
        x.mul_(3)
        ctx.mark_dirty(x)
        return x

    f = function(m, forward=forward, backward=lambda ctx, g: g * 3)
    x = leaf(m, 3)
    b = x * 1
    v = b[1:]
    f.apply(v)
    (b * b).sum().backward()
    return x.grad, b


@case
def input_returned(m):
    f = function(m, forward=lambda ctx, x: x, backward=lambda ctx, g: g * 5)
    x = leaf(m, 3)
    y = f.apply(x)
    y.sum().backward()
    return y is x, x.grad, y.requires_grad, y.data_ptr() == x.data_ptr()


@case
def view_returned(m):
    f = function(m, forward=lambda ctx, x: x.view(-1), backward=lambda ctx, g: g.view(1, 3) * 2)
    x = leaf(m, 1, 3)
    y = f.apply(x)
    y.sum().backward()
    return x.grad, y.data_ptr() == x.data_ptr()


@case
def needs_input_grad(m):
    seen = []

    def forward(ctx, x, n, w):
        seen.append(ctx.needs_input_grad)
        return x * w * n

    def backward(ctx, g):
        seen.append(ctx.needs_input_grad)
        return g, None, None

    f = function(m, forward=forward, backward=backward)
    x = leaf(m, 3)
    f.apply(x, 2.0, m.ones(3)).sum().backward()
    with m.no_grad():
        y = f.apply(x, 2.0, m.ones(3))
    return seen, y.requires_grad, x.grad


@case
def nothing_requires_grad(m):
    f = function(m, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g)
    y = f.apply(m.ones(3))
    return y.requires_grad, y.grad_fn, y


@case
def attributes_and_other_arguments(m):
    def forward(ctx, x, scale, options, flag=None):
        ctx.scale, ctx.options = scale, options
        return x * scale

    def backward(ctx, g):
        return g * ctx.scale + ctx.options["bias"], None, None, None

    x = leaf(m, 3)
    y = function(m, forward=forward, backward=backward).apply(x, 3, {"bias": 1}, "flag")
    y.sum().backward()
    return x.grad


@case
def none_gradient(m):
    f = function(m, forward=lambda ctx, x, w: x * w, backward=lambda ctx, g: (g, None))
    x, w = leaf(m, 3), leaf(m, 3, seed=1)
    f.apply(x, w).sum().backward()
    return x.grad, w.grad


@case
def surplus_none_is_allowed(m):
    f = function(m, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: (g, None, None))
    x = leaf(m, 3)
    f.apply(x).sum().backward()
    return x.grad


@case
def gradient_in_broadcast_shape_and_other_dtype(m):
    f = function(
        m,
        forward=lambda ctx, x, w: x * w,
        backward=lambda ctx, g: (g.double(), g * m.ones(2, 3)),
    )
    x, w = leaf(m, 2, 3), leaf(m, 3, seed=1)
    f.apply(x, w).sum().backward()
    return x.grad, w.grad


@case
def setup_context(m):
    def forward(x, n):
        return x**n

    def setup(ctx, inputs, output):
        x, ctx.n = inputs
        ctx.save_for_backward(x, output)

    def backward(ctx, g):
        x, y = ctx.saved_tensors
        return g * ctx.n * y / x, None

    f = function(m, forward=forward, setup_context=setup, backward=backward)
    x = leaf(m, 3, dtype="f8")
    (g,) = m.autograd.grad(f.apply(x, 3).sum(), x, create_graph=True)
    return g, m.autograd.grad(g.sum(), x)


@case
def double_backward(m):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.detach().sin()

    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * x.cos()

    x = leaf(m, 3, dtype="f8")
    y = function(m, forward=forward, backward=backward).apply(x).sum()
    found = []
    for _ in range(3):
        (y,) = m.autograd.grad(y, x, create_graph=True)
        found.append(y)
        y = y.sum()
    return found


@case
def function_in_a_backward(m):
    inner = function(m, forward=lambda ctx, g: g * 2, backward=lambda ctx, g: g * 7)
    outer = function(m, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: inner.apply(g))
    x, v = leaf(m, 3), leaf(m, 3, seed=1)
    (g,) = m.autograd.grad(outer.apply(x), x, v, create_graph=True)
    return g, m.autograd.grad(g.sum(), v)


@case
def once_differentiable_first(m):
    once = m.autograd.function.once_differentiable
    f = function(m, forward=lambda ctx, x: x * 2, backward=once(lambda ctx, g: g * 2))
    x = leaf(m, 3)
    f.apply(x).sum().backward()
    return x.grad


@case
def once_differentiable_twice_is_error(m):
    once = m.autograd.function.once_differentiable
    f = function(m, forward=lambda ctx, x: x * 2, backward=once(lambda ctx, g: g * 2))
    x = leaf(m, 3)
    (g,) = m.autograd.grad((f.apply(x) ** 2).sum(), x, create_graph=True)
    g.sum().backward()


@case
def modes_within(m):
    seen = []

    def forward(ctx, x):
        seen.append(m.is_grad_enabled())
        with m.enable_grad():
            z = x.detach().requires_grad_()
            (ctx.local,) = m.autograd.grad((z**3).sum(), z)
        return x**3

    def backward(ctx, g):
        seen.append(m.is_grad_enabled())
        return g * ctx.local

    x = leaf(m, 3)
    function(m, forward=forward, backward=backward).apply(x).sum().backward()
    return x.grad, seen


@case
def backward_within_backward(m):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.exp()

    def backward(ctx, g):
        with m.enable_grad():
            z = ctx.saved_tensors[0].detach().requires_grad_()
            z.exp().backward(g)
        return z.grad

    x = leaf(m, 3)
    (function(m, forward=forward, backward=backward).apply(x * 2) * 3).sum().backward()
    return x.grad


@case
def hook_of_a_function_output(m):
    f = function(m, forward=lambda ctx, x: (x * 2, x * 3), backward=lambda ctx, a, b: a * 2 + b * 3)
    x = leaf(m, 3)
    a, b = f.apply(x)
    a.register_hook(lambda g: g * 10)
    b.retain_grad()
    (a + b).sum().backward()
    return x.grad, b.grad


@case
def exception_of_backward_arrives(m):
    def backward(ctx, g):
        raise KeyError("mine")

    function(m, forward=lambda ctx, x: x * 2, backward=backward).apply(leaf(m, 3)).sum().backward()


@case
def saved_tensors_of_the_node(m):
    y = leaf(m, 3).exp()
    f = function(m, forward=lambda ctx, x: x * 2, backward=lambda ctx, g: g)
    z = f.apply(y)
    return z.grad_fn.next_functions[0][0] is y.grad_fn, z.grad_fn.name()


@case.parametrize()
def test_same(case):
    compare(case, torch)
