"""Backward: what it accumulates, gives back, calls and refuses; compared with the reference."""

import pytest
from core_table import Cases, compare, leaf

torch = pytest.importorskip("torch")
case = Cases()


# ---- backward and grad --------------------------------------------------------------------------------
@case
def backward_twice_is_error(m):
    y = leaf(m, 3).exp().sum()
    y.backward()
    y.backward()


@case
def backward_twice_without_saved_is_fine(m):
    x = leaf(m, 3)
    y = (x + 1.0).sum()
    y.backward()
    y.backward()
    return x.grad


@case
def retain_graph_accumulates(m):
    x = leaf(m, 3)
    y = x.exp().sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


@case
def third_order(m):
    x = leaf(m, 3, dtype="f8")
    y = (x**4 * x.sin()).sum()
    found = []
    for _ in range(3):
        (y,) = m.autograd.grad(y, x, create_graph=True)
        found.append(y)
        y = y.sum()
    return found


@case
def grad_of_several(m):
    x, w = leaf(m, 3), leaf(m, 3, seed=1)
    h = x * w
    outs = [h.sum(), h.exp(), w * 2]
    return m.autograd.grad(outs, [w, h, x], [None, m.ones(3), m.arange(3.0)])


@case
def grad_of_a_nonleaf_stops_there(m):
    x = leaf(m, 3)
    h = x.exp()
    (g,) = m.autograd.grad((h * h).sum(), h)
    return g, x.grad, h.grad


@case
def grad_of_the_output_itself(m):
    y = (leaf(m, 3) * 2).sum()
    return m.autograd.grad(y, y)


@case
def grad_leaves_grad_alone(m):
    x, w = leaf(m, 3), leaf(m, 3, seed=1)
    g = m.autograd.grad((x * w).sum(), x)
    return g, x.grad, w.grad


@case
def grad_unused_is_error(m):
    m.autograd.grad(leaf(m, 3).sum(), leaf(m, 3))


@case
def grad_unused_allowed(m):
    x, w = leaf(m, 3), leaf(m, 2)
    return m.autograd.grad((x * x).sum(), [x, w], allow_unused=True)


@case
def grad_materialized(m):
    x, w = leaf(m, 3), leaf(m, 2, dtype="f8")
    return m.autograd.grad((x * x).sum(), [w, x], materialize_grads=True)


@case
def grad_materialized_against_allow_unused(m):
    x = leaf(m, 3)
    m.autograd.grad(x.sum(), [x], materialize_grads=True, allow_unused=False)


@case
def grad_of_vector_is_error(m):
    x = leaf(m, 3)
    m.autograd.grad(x * 2, x)


@case
def grad_of_same_input_twice(m):
    x = leaf(m, 3)
    return m.autograd.grad((x * x).sum(), [x, x])


@case
def backward_inputs(m):
    x, w = leaf(m, 3), leaf(m, 3, seed=1)
    (x * w).sum().backward(inputs=[w])
    return x.grad, w.grad


@case
def backward_inputs_accumulates(m):
    x, w = leaf(m, 3), leaf(m, 3, seed=1)
    x.grad = m.ones(3)
    for _ in range(2):
        (x * w).sum().backward(inputs=x)
    return x.grad, w.grad


@case
def backward_inputs_nonleaf(m):
    x = leaf(m, 3)
    h = x * 2
    h.retain_grad()
    (h * h).sum().backward(inputs=[h])
    return x.grad, h.grad


@case
def backward_inputs_empty_is_error(m):
    leaf(m, 3).sum().backward(inputs=[])


@case
def backward_of_several_roots(m):
    x = leaf(m, 3)
    a, b = (x * 2).sum(), x.exp()
    m.autograd.backward([a, b, a], [None, m.ones(3), m.tensor(2.0)])
    return x.grad


@case
def backward_of_a_leaf(m):
    x = leaf(m)
    x.backward()
    x.backward(m.tensor(3.0))
    return x.grad


@case
def backward_of_a_node_within_another_graph(m):
    x = leaf(m, 3)
    h = x.exp()
    m.autograd.backward([h.sum(), (h * 2).sum()])
    return x.grad


@case
def seeds_with_a_graph(m):
    x, v = leaf(m, 3), leaf(m, 3, seed=1)
    (g,) = m.autograd.grad(x**3, x, v, create_graph=True)
    return m.autograd.grad(g.sum(), [x, v])


@case
def create_graph_in_backward(m):
    x = leaf(m, 3)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    return g, x.grad, g.requires_grad


# ---- .grad ----------------------------------------------------------------------------------------------
@case
def grad_is_not_aliased(m):
    a, b = leaf(m, 3), leaf(m, 3, seed=1)
    seed = m.ones(3)
    (a + b).backward(seed)
    a.grad.mul_(5.0)
    return a.grad, b.grad, seed


@case
def accumulates_in_place(m):
    x = leaf(m, 3)
    (x * 2).sum().backward()
    g = x.grad
    (x * 3).sum().backward()
    return x.grad is g, g, g._version


@case
def accumulates_into_given(m):
    x = leaf(m, 3)
    x.grad = mine = m.full((3,), 10.0)
    (x * 2).sum().backward()
    return x.grad is mine, mine


@case
def gradient_layout_follows_the_parameter(m):
    x = m.ones(3, 4).t().requires_grad_()
    (x * x).sum().backward()
    y = m.ones(2, 3, 4, 4).contiguous(memory_format=m.channels_last).requires_grad_()
    (y * y).sum().backward()
    z = leaf(m, 2, 3)
    (z.t() * 2).sum().backward()
    return x.grad.stride(), y.grad.stride(), z.grad.stride()


@case
def grad_assigned_of_other_shape_is_error(m):
    leaf(m, 3).grad = m.ones(2)


@case
def grad_deleted(m):
    x = leaf(m, 3)
    x.sum().backward()
    del x.grad
    return x.grad


@case
def same_leaf_many_times(m):
    x = leaf(m, 4)
    sum(x[i] * x[3 - i] * i for i in range(4)).backward()
    return x.grad


@case
def matmul_and_bias(m):
    x, w, b = leaf(m, 5, 3), leaf(m, 4, 3, seed=1), leaf(m, 4, seed=2)
    for _ in range(2):
        m.nn.functional.linear(x, w, b).tanh().sum().backward()
    return x.grad, w.grad, b.grad


# ---- retain_grad -------------------------------------------------------------------------------------------
@case
def retained(m):
    x = leaf(m, 3)
    h = x * 2
    h.retain_grad()
    before = h.retains_grad, x.retains_grad
    (h * h).sum().backward(retain_graph=True)
    (h * h).sum().backward()
    return before, h.grad, x.grad


@case
def retained_after_inplace(m):
    x = leaf(m, 3)
    h = x * 2
    h.retain_grad()
    h.mul_(3)
    (h * h).sum().backward()
    return h.grad, x.grad


@case
def retained_of_a_view_output(m):
    x = leaf(m, 4)
    a, b = (x * 1.0).split(2)
    a.retain_grad()
    (a * b).sum().backward()
    return a.grad, x.grad


@case
def retain_without_grad_is_error(m):
    m.ones(3).retain_grad()


# ---- hooks ---------------------------------------------------------------------------------------------------
@case
def hooks(m):
    x = leaf(m, 3)
    y = x * 2.0
    seen = []
    y.register_hook(lambda g: g * 10.0)
    x.register_hook(lambda g: seen.append(g.sum().item()))
    y.retain_grad()
    (y * y).sum().backward()
    return x.grad, y.grad, seen[0]


@case
def hook_order_and_replacement(m):
    x = leaf(m, 3)
    y = x * 1.0
    log = []

    def hook(name, factor):
        def run(g):
            log.append((name, g.tolist()))
            return None if factor is None else g * factor

        return run

    y.register_hook(hook("a", 2.0))
    y.register_hook(hook("b", None))
    y.register_hook(hook("c", 3.0))
    x.register_hook(hook("leaf 1", 5.0))
    x.register_hook(hook("leaf 2", None))
    y.sum().backward()
    return log, x.grad


@case
def hook_removed(m):
    x = leaf(m, 3)
    y = x * 1.0
    handles = [y.register_hook(lambda g: g * 2), x.register_hook(lambda g: g * 3)]
    y.sum().backward(retain_graph=True)
    first = x.grad.clone()
    for h in handles:
        h.remove()
    handles[0].remove()
    y.sum().backward()
    return first, x.grad


@case
def hook_handle_as_context(m):
    x = leaf(m, 2)
    with x.register_hook(lambda g: g * 2):
        x.sum().backward()
    x.sum().backward()
    return x.grad


@case
def leaf_hook_runs_once_on_the_sum(m):
    x = leaf(m, 2)
    seen = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    (x * 2 + x * 3 + x).sum().backward()
    return seen, x.grad


@case
def hook_changing_shape_is_error(m):
    y = leaf(m, 3) * 1.0
    y.register_hook(lambda g: g[:2])
    y.sum().backward()


@case
def leaf_hook_changing_shape_is_error(m):
    x = leaf(m, 3)
    x.register_hook(lambda g: g[:2])
    x.sum().backward()


@case
def leaf_hook_returning_a_list_is_error(m):
    x = leaf(m, 3)
    x.register_hook(lambda g: [1.0])
    x.sum().backward()


@case
def hook_with_create_graph(m):
    x = leaf(m, 3)
    y = x**2
    y.register_hook(lambda g: g * x.detach() * 2)
    (g,) = m.autograd.grad(y.sum(), x, create_graph=True)
    return g, m.autograd.grad(g.sum(), x)


@case
def hook_on_an_unused_tensor_is_not_called(m):
    x = leaf(m, 3)
    seen = []
    y = x * 2
    (x * 3).register_hook(lambda g: seen.append(1))
    y.sum().backward()
    return seen


@case
def hook_on_an_input_of_grad(m):
    x = leaf(m, 3)
    x.register_hook(lambda g: g * 7)
    y = x * 2
    y.register_hook(lambda g: g * 5)
    return m.autograd.grad(y.sum(), [x, y])


@case
def hook_before_an_inplace_write(m):
    x = leaf(m, 3)
    y = x * 2.0
    y.register_hook(lambda g: g * 100)
    y.mul_(3.0)
    y.register_hook(lambda g: g * 7)
    y.sum().backward()
    return x.grad


@case
def hook_on_an_integer_is_error(m):
    m.arange(3).register_hook(print)


@case
def post_accumulate(m):
    x = leaf(m, 3)
    seen = []

    def step(p):
        seen.append(p.grad.tolist())
        p.grad = None

    h = x.register_post_accumulate_grad_hook(step)
    (x * 2 + x).sum().backward()
    h.remove()
    (x * 5).sum().backward()
    return seen, x.grad


@case
def post_accumulate_after_tensor_hooks(m):
    x, log = leaf(m, 2), []
    x.register_post_accumulate_grad_hook(lambda p: log.append(("post", p.grad.tolist())))
    x.register_hook(lambda g: log.append(("hook", g.tolist())))
    (x * 2).sum().backward()
    return log


@case
def post_accumulate_not_in_grad(m):
    x, log = leaf(m, 2), []
    x.register_post_accumulate_grad_hook(lambda p: log.append(1))
    m.autograd.grad(x.sum(), x)
    return log


@case
def node_hooks(m):
    x = leaf(m, 3)
    y = x * 2.0
    log = []
    y.grad_fn.register_hook(lambda i, o: log.append(("post", i[0].tolist(), o[0].tolist())))
    y.grad_fn.register_prehook(lambda o: log.append(("pre", o[0].tolist())))
    y.register_hook(lambda g: log.append(("tensor", g.tolist())))
    (y * 3).sum().backward()
    return log, x.grad


@case
def node_hooks_replace(m):
    x, w = leaf(m, 3), leaf(m, 3, seed=1)
    y = x * w
    y.grad_fn.register_prehook(lambda o: (o[0] * 10,))
    y.grad_fn.register_hook(lambda i, o: (i[0] + 1, None))
    y.sum().backward()
    return x.grad, w.grad


@case
def nodes(m):
    x = leaf(m, 3)
    y = (x * 2).exp()
    mul = y.grad_fn.next_functions[0][0]
    acc = mul.next_functions[0][0]
    return (
        y.grad_fn.name(), mul.name(), mul.next_functions[1][0], acc.variable is x, x.grad_fn, y.output_nr,
        acc.next_functions, len(y.grad_fn.metadata),
    )  # fmt: skip


@case
def node_of_several_outputs(m):
    a, b = (leaf(m, 4) * 1).split(2)
    v, i = leaf(m, 3).max(0)
    return a.output_nr, b.output_nr, v.grad_fn.name(), i.requires_grad, i.grad_fn


@case.parametrize()
def test_same(case):
    compare(case, torch)
