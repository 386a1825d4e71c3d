"""Wrong use of gradients: graphs, leaves, writes in place, inference tensors, user functions."""

import copy

import pytest
from misuse_table import Table, check, compare

T = Table()
R, V, IX, TY = RuntimeError, ValueError, IndexError, TypeError


def leaf(t, *shape):
    return t.ones(*(shape or (3,)), requires_grad=True)


# ---- backward --------------------------------------------------------------------------------------
T.expr("backward of a vector", R, lambda t: (leaf(t) * 2).backward(), "scalar", "[3]")
T.expr("backward without a graph", R, lambda t: t.ones(()).backward(), "grad_fn", "require grad")
T.expr("backward under no_grad", R, lambda t: no_graph(t).backward(), "grad_fn", "require grad")
T.expr("gradient shape", R, lambda t: (leaf(t) * 2).backward(t.ones(2)), "[2]", "[3]")
T.expr("gradient type", TY, lambda t: (leaf(t) * 2).backward([1.0]), "Tensors", "float")
T.expr(
    "gradient count",
    R,
    lambda t: t.autograd.backward([leaf(t)], [t.ones(3)] * 2),
    "1",
    "2",
    ours=True,
)
T.expr("no inputs", R, lambda t: leaf(t).sum().backward(inputs=[]), "inputs", "empty")
T.expr("grad of a constant", R, lambda t: t.autograd.grad(leaf(t).sum(), t.ones(3)), "require grad")
T.expr("grad of a vector", R, lambda t: t.autograd.grad(leaf(t) * 2, leaf(t)), "scalar")


def no_graph(t):
    with t.no_grad():
        return leaf(t).sum()


@T.case(R, "second time", "retain_graph=True")
def backward_twice(t):
    y = (leaf(t) ** 2).sum()
    y.backward()
    y.backward()


@T.case(R, "second time", "retain_graph=True")
def backward_through_a_shared_part_twice(t):
    h = leaf(t).exp()
    h.sum().backward()
    (h * 2).sum().backward()


@T.case(R, "second time")
def saved_tensors_of_a_function_twice(t):
    class Double(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    y = Double.apply(leaf(t)).sum()
    y.backward()
    y.backward()


@T.case(R, "not have been used", "allow_unused")
def grad_of_an_unused_input(t):
    x, y = leaf(t), leaf(t)
    t.autograd.grad(x.sum(), [x, y])


@T.case(R, "[2]", "[3]")
def grad_with_a_wrong_shape(t):
    x = leaf(t)
    t.autograd.grad(x * 2, x, t.ones(2))


@T.case(R, "grad", "[2]", "[3]")
def assign_a_grad_of_another_shape(t):
    leaf(t).grad = t.ones(2)


@T.case(TY, "grad")
def assign_a_grad_that_is_a_list(t):
    leaf(t).grad = [1.0]


@T.case(R, "doesn't require gradient")
def hook_without_a_graph(t):
    t.ones(3).register_hook(lambda g: g)


@T.case(R, "leaf")
def post_accumulate_hook_of_a_result(t):
    (leaf(t) * 2).register_post_accumulate_grad_hook(lambda p: None)


# ---- what backward needs, written to -----------------------------------------------------------
@T.case(R, "modified by an inplace operation", "version 1", "expected version 0")
def saved_result_modified(t):
    y = leaf(t).exp()
    y.add_(1)
    y.sum().backward()


@T.case(R, "modified by an inplace operation", "version 1", "expected version 0")
def saved_input_modified(t):
    w = t.ones(3)
    y = (leaf(t) * w).sum()
    w.mul_(2)
    y.backward()


@T.case(R, "modified by an inplace operation", "version 1", "expected version 0")
def saved_input_modified_through_a_view(t):
    w = t.ones(3)
    y = (leaf(t) * w).sum()
    w[:1].zero_()
    y.backward()


@T.case(R, "modified by an inplace operation", "version 3", "expected version 1")
def weight_stepped_before_backward(t):
    lin = t.nn.Linear(3, 3)
    loss = lin(lin(t.ones(1, 3))).sum()
    with t.no_grad():
        lin.weight.add_(1.0)
        lin.weight.mul_(0.5)
    loss.backward()


@T.case(R, "modified by an inplace operation")
def saved_tensor_of_a_function_modified(t):
    class Times(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(w)
            return x * w

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0], None

    w = t.ones(3)
    y = Times.apply(leaf(t), w)
    w.zero_()
    y.sum().backward()


T.expr("in place on a leaf", R, lambda t: leaf(t).add_(1), "leaf", "in-place")
T.expr("in place on a view of a leaf", R, lambda t: leaf(t)[:2].mul_(2), "view of a leaf")
T.expr("in place on a part of unbind", R, lambda t: (leaf(t) * 1).unbind()[0].mul_(2), "multiple")
T.expr("zero_ of a leaf", R, lambda t: leaf(t).zero_(), "leaf")
T.expr("copy_ into a leaf", R, lambda t: leaf(t).copy_(t.zeros(3)), "leaf")
T.expr("out into a leaf", R, lambda t: t.add(t.ones(3), 1, out=leaf(t)), "out=", "differentiation")
T.expr("out of a recorded sum", R, lambda t: t.add(leaf(t), 1, out=t.ones(3)), "out=")
T.expr("resize of a recorded tensor", R, lambda t: (leaf(t) * 1).resize_(5), "resize")


@T.case(R, "leaf", "in-place")
def assign_into_a_leaf(t):
    leaf(t)[0] = 1.0


@T.case(R, "leaf", "in-place")
def augmented_assignment_to_a_parameter(t):
    p = t.nn.Linear(2, 2).weight
    p -= 0.1


@T.case(R, "single memory location", "[3]", "[0]")
def write_to_an_expanded_tensor(t):
    t.ones(1).expand(3).add_(t.ones(3))


# ---- leaves ----------------------------------------------------------------------------------------
T.expr("stop requiring", R, lambda t: (leaf(t) * 1).requires_grad_(False), "leaf", "detach")
T.expr("numpy", R, lambda t: leaf(t).numpy(), "requires grad", "detach")
T.expr("deepcopy of a result", R, lambda t: copy.deepcopy(leaf(t) * 1), "leaves", "deepcopy")
T.expr("detach_ of a view", R, lambda t: (leaf(t) * 1)[:1].detach_(), "view", "detach()")


@T.case(R, "leaf")
def requires_grad_of_a_result(t):
    y = leaf(t) * 1
    y.requires_grad = False


@T.case(R, "floating point")
def integers_that_require_grad(t):
    x = t.ones(3).long()
    x.requires_grad = True


# ---- inference mode ----------------------------------------------------------------------------------
def inferred(t):
    with t.inference_mode():
        return t.ones(3)


T.expr("save an inference tensor", R, lambda t: leaf(t) * inferred(t), "Inference tensors", "clone")
T.expr("write to an inference tensor", R, lambda t: inferred(t).add_(1), "nference tensor", "clone")
T.expr("version of an inference tensor", R, lambda t: inferred(t)._version, "nference tensor")
T.expr("inference tensor that requires", R, lambda t: inferred(t).requires_grad_(), "nference")

# ---- user functions ----------------------------------------------------------------------------------
T.expr("instantiate a function", R, lambda t: identity(t)()(leaf(t)), "instantiated")


def identity(t, back=lambda ctx, g: g):
    class Identity(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, scale=1):
            return x.clone()

        backward = staticmethod(back)

    return Identity


def run(t, back):
    identity(t, back).apply(leaf(t), 2).sum().backward()


T.expr("too few gradients", R, lambda t: run(t, lambda ctx, g: g), "expected 2, got 1")
T.expr("too many gradients", R, lambda t: run(t, lambda ctx, g: (g, None, g)), "expected 2, got 3")
T.expr(
    "gradient for a number", R, lambda t: run(t, lambda ctx, g: (g, g)), "None", "not a Variable"
)
T.expr("gradient of a wrong shape", R, lambda t: run(t, lambda c, g: (g[:2], None)), "[2]", "[3]")
T.expr("gradient of a wrong type", R, lambda t: run(t, lambda c, g: ([1], None)), "list")


@T.case(NotImplementedError, "forward")
def function_without_forward(t):
    class Nothing(t.autograd.Function):
        pass

    Nothing.apply(leaf(t))


@T.case(NotImplementedError, "backward")
def function_without_backward(t):
    class Forward(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

    Forward.apply(leaf(t)).sum().backward()


@T.case(TY, "save_for_backward", "float")
def save_a_number_for_backward(t):
    class Number(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(1.0)
            return x.clone()

    Number.apply(leaf(t))


@T.case(R, "twice", "once_differentiable")
def second_derivative_of_once_differentiable(t):
    class Once(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**2

        @staticmethod
        @t.autograd.function.once_differentiable
        def backward(ctx, g):
            return 2 * g * ctx.saved_tensors[0]

    x = leaf(t)
    (g,) = t.autograd.grad((Once.apply(x) ** 2).sum(), x, create_graph=True)
    g.sum().backward()


@T.case(R, "nan", "Sqrt")
def nan_under_detect_anomaly(t):
    x = t.zeros(1, requires_grad=True)
    with pytest.warns(UserWarning, match="detected|Anomaly|Error"), t.autograd.detect_anomaly():
        (x.sqrt() * 0).sum().backward()


@T.case(R, "acobian")
def gradcheck_of_a_wrong_gradient(t):
    wrong = identity(t, lambda ctx, g: (2 * g, None))
    t.autograd.gradcheck(lambda x: wrong.apply(x, 1), leaf(t, 2).double().detach().requires_grad_())


@T.case(V, "requires")
def gradcheck_without_a_leaf(t):
    t.autograd.gradcheck(lambda x: x, t.ones(2).double())


@T.case(R, "checkpoint", "different metadata", "[2]", "[1]")
def checkpoint_of_a_function_that_changes(t):
    calls = []

    def body(x):
        calls.append(1)
        return x[: 3 - len(calls)].exp()

    t.utils.checkpoint.checkpoint(body, leaf(t), use_reentrant=False).sum().backward()


@T.case(V, "keyword")
def checkpoint_with_unknown_keywords(t):
    t.utils.checkpoint.checkpoint(lambda x: x, leaf(t), use_reentrant=True, scale=2)


@T.parametrize()
def test_misuse(case):
    check(case)


@T.parametrize(reference=True)
def test_as_torch(case):
    pytest.importorskip("torch")
    compare(case)
