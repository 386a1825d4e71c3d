"""Wrong use of layers, functional layers and losses."""

import pytest
from misuse_table import Table, check, compare

T = Table()
R, V, IX, TY = RuntimeError, ValueError, IndexError, TypeError

# ---- layers and shapes -----------------------------------------------------------------------------
T.expr("Linear", R, lambda t: t.nn.Linear(3, 2)(t.ones(4, 5)), "4x5", "3x2")
T.expr("Linear dtype", R, lambda t: t.nn.Linear(3, 2)(t.ones(4, 3).double()), "dtype", "ouble")
T.expr("Linear of ints", R, lambda t: t.nn.Linear(3, 2)(t.ones(4, 3).long()), "dtype", "ong")
T.expr("Conv2d channels", R, lambda t: t.nn.Conv2d(3, 4, 3)(t.ones(1, 2, 8, 8)), "3", "2")
T.expr("Conv2d rank", R, lambda t: t.nn.Conv2d(3, 4, 3)(t.ones(3, 8)), "3D", "4D", "[3, 8]")
T.expr("Conv2d kernel", R, lambda t: t.nn.Conv2d(1, 1, 5)(t.ones(1, 1, 3, 3)), "3 x 3", "5 x 5")
T.expr(
    "Conv2d groups", V, lambda t: t.nn.Conv2d(3, 4, 3, groups=2), "in_channels", "groups", "3 and 2"
)
T.expr(
    "Conv2d out groups",
    V,
    lambda t: t.nn.Conv2d(4, 3, 3, groups=2),
    "out_channels",
    "groups",
    "3 and 2",
)
T.expr("Conv2d no groups", V, lambda t: t.nn.Conv2d(4, 4, 3, groups=0), "groups")
T.expr("Conv2d padding mode", V, lambda t: t.nn.Conv2d(1, 1, 3, padding_mode="x"), "zeros", "x")
T.expr("Conv2d padding name", V, lambda t: t.nn.Conv2d(1, 1, 3, padding="full"), "same", "full")
T.expr("Conv2d same", V, lambda t: t.nn.Conv2d(1, 1, 3, padding="same", stride=2), "same", "stride")
T.expr("conv2d stride", R, lambda t: conv(t, stride=0), "stride", "[0, 0]")
T.expr("conv2d dilation", R, lambda t: conv(t, dilation=0), "dilation", "[0, 0]")
T.expr("conv2d padding", R, lambda t: conv(t, padding=-1), "negative padding", "[-1, -1]")
T.expr("conv2d bias", R, lambda t: conv(t, bias=1), "bias", "3 elements", "[1]")
T.expr("conv2d dtype", R, lambda t: conv(t, double=True), "type")
T.expr(
    "max_pool2d size",
    R,
    lambda t: t.nn.functional.max_pool2d(t.ones(1, 1, 2, 2), 5),
    "1x2x2",
    "too small",
)
T.expr(
    "max_pool2d pad", R, lambda t: t.nn.functional.max_pool2d(t.ones(1, 1, 4, 4), 2, 2, 2), "pad"
)
T.expr("max_pool2d rank", R, lambda t: t.nn.functional.max_pool2d(t.ones(4), 2), "4D")
T.expr("avg_pool2d rank", R, lambda t: t.nn.functional.avg_pool2d(t.ones(1, 1, 1, 4, 4), 2), "4D")
T.expr("pad length", R, lambda t: t.nn.functional.pad(t.ones(2), (1, 1, 1, 1)), "4", "1")
T.expr("pad mode", NotImplementedError, lambda t: t.nn.functional.pad(t.ones(2), (1, 1), "x"), "x")
T.expr("reflect", R, lambda t: t.nn.functional.pad(t.ones(1, 2), (3, 0), "reflect"), "3", "2")
T.expr(
    "BatchNorm1d of one", V, lambda t: t.nn.BatchNorm1d(3)(t.ones(1, 3)), "more than 1", "[1, 3]"
)
T.expr("BatchNorm1d rank", V, lambda t: t.nn.BatchNorm1d(3)(t.ones(3)), "2D or 3D", "1D")
T.expr("BatchNorm2d rank", V, lambda t: t.nn.BatchNorm2d(3)(t.ones(2, 3)), "4D", "2D")
T.expr("BatchNorm1d channels", R, lambda t: t.nn.BatchNorm1d(3)(t.ones(2, 4)), "3", "4")
T.expr("LayerNorm", R, lambda t: t.nn.LayerNorm(3)(t.ones(2, 4)), "[3]", "[2, 4]")
T.expr("GroupNorm", V, lambda t: t.nn.GroupNorm(2, 3), "num_channels", "num_groups")
T.expr("group_norm", R, lambda t: t.nn.functional.group_norm(t.ones(2, 3), 2), "3", "2")
T.expr("Embedding", IX, lambda t: t.nn.Embedding(3, 2)(t.tensor([3])), "0 to 2", "3")
T.expr("Embedding below", IX, lambda t: t.nn.Embedding(3, 2)(t.tensor([-1])), "0 to 2", "-1")
T.expr("Embedding of floats", R, lambda t: t.nn.Embedding(3, 2)(t.ones(1)), "Long", "float")
T.expr("Embedding padding", AssertionError, lambda t: t.nn.Embedding(3, 2, 5), "num_embeddings")
T.expr("one_hot", R, lambda t: t.nn.functional.one_hot(t.tensor([3]), 2), "0 to 1", "3")
T.expr(
    "one_hot of negatives", R, lambda t: t.nn.functional.one_hot(t.tensor([-1])), "negative", "-1"
)
T.expr("LSTM input", R, lambda t: t.nn.LSTM(3, 4)(t.ones(5, 2, 7)), "3", "7")
T.expr("LSTM rank", V, lambda t: t.nn.LSTM(3, 4)(t.ones(3)), "2D or 3D", "1D")
T.expr("LSTM state", R, lambda t: lstm_state(t, (1, 2, 5)), "(1, 2, 4)", "[1, 2, 5]")
T.expr("LSTM state rank", R, lambda t: lstm_state(t, (1, 5)), "3-D", "2-D")
T.expr("GRU state", R, lambda t: t.nn.GRU(3, 4)(t.ones(5, 2, 3), t.ones(1, 2, 5)), "(1, 2, 4)")
T.expr("LSTM dropout", V, lambda t: t.nn.LSTM(3, 4, dropout=2.0), "dropout")
T.expr("LSTM of size 0", V, lambda t: t.nn.LSTM(3, 0), "hidden_size")
T.expr("LSTMCell", R, lambda t: t.nn.LSTMCell(3, 4)(t.ones(2, 5)), "3", "5")
T.expr("MHA sizes", AssertionError, lambda t: t.nn.MultiheadAttention(5, 2), "divisible", "5 and 2")
T.expr("MHA input", AssertionError, lambda t: mha(t, t.ones(3, 2, 5)), "4", "5")
T.expr("MHA key", AssertionError, lambda t: mha(t, t.ones(3, 2, 4), t.ones(5, 2, 4)), "3", "5")
T.expr("MHA mask", R, lambda t: mha(t, t.ones(3, 2, 4), mask=t.zeros(2, 2)), "[2, 2]", "(3, 3)")
T.expr(
    "attention",
    R,
    lambda t: t.nn.functional.scaled_dot_product_attention(
        t.ones(1, 3, 4), t.ones(1, 3, 5), t.ones(1, 3, 5)
    ),
    "4",
    "5",
)
T.expr("Upsample", V, lambda t: t.nn.Upsample()(t.ones(1, 1, 2, 2)), "size", "scale_factor")
T.expr("PixelShuffle", R, lambda t: t.nn.PixelShuffle(2)(t.ones(1, 3, 2, 2)), "divisible", "3")
T.expr("glu", R, lambda t: t.nn.functional.glu(t.ones(3)), "even", "3")
T.expr("fan of a vector", V, lambda t: t.nn.init.xavier_uniform_(t.ones(3)), "2 dimensions")
T.expr("gain", V, lambda t: t.nn.init.calculate_gain("step"), "step")
T.expr(
    "kaiming mode", V, lambda t: t.nn.init.kaiming_normal_(t.ones(2, 2), mode="x"), "fan_in", "x"
)
T.expr("clip nan", R, lambda t: clip(t), "non-finite")


def conv(t, bias=None, double=False, **options):
    w = t.ones(3, 1, 3, 3)
    b = None if bias is None else t.ones(bias)
    x = t.ones(1, 1, 5, 5)
    return t.nn.functional.conv2d(x, w.double() if double else w, b, **options)


def lstm_state(t, shape):
    return t.nn.LSTM(3, 4)(t.ones(5, 2, 3), (t.ones(*shape), t.ones(*shape)))


def mha(t, q, k=None, mask=None):
    k = q if k is None else k
    return t.nn.MultiheadAttention(4, 2)(q, k, q, attn_mask=mask)


def clip(t):
    p = t.ones(2, requires_grad=True)
    p.grad = t.tensor([float("nan"), 0.0])
    return t.nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)


# ---- losses ------------------------------------------------------------------------------------------
def ce(t, x, target, **options):
    return t.nn.functional.cross_entropy(x, target, **options)


T.expr("class too large", IX, lambda t: ce(t, t.ones(2, 3), t.tensor([0, 3])), "3", "out of bounds")
T.expr("class below", IX, lambda t: ce(t, t.ones(2, 3), t.tensor([0, -1])), "-1", "out of bounds")
T.expr("batch sizes", V, lambda t: ce(t, t.ones(2, 3), t.tensor([0, 1, 2])), "(2)", "(3)")
T.expr("class of floats", R, lambda t: ce(t, t.ones(2, 3), t.ones(2)), "Float")
T.expr("target shape", R, lambda t: ce(t, t.ones(2, 3, 4), t.ones(2, 5).long()), "[2, 5]", "[2, 4]")
T.expr("weight", R, lambda t: ce(t, t.ones(2, 3), t.tensor([0, 1]), weight=t.ones(2)), "3", "2")
T.expr("smoothing", R, lambda t: ce(t, t.ones(2, 3), t.tensor([0, 1]), label_smoothing=2.0), "2")
T.expr("no reduction", V, lambda t: ce(t, t.ones(2, 3), t.tensor([0, 1]), reduction="all"), "all")
T.expr("nll", R, lambda t: t.nn.functional.nll_loss(t.ones(3), t.tensor([0, 1])), "[3]", "[2]")
T.expr("mse", R, lambda t: loss(t, "mse_loss", t.ones(3), t.ones(2, 2)), "3", "2")
T.expr(
    "bce sizes", V, lambda t: loss(t, "binary_cross_entropy", t.ones(3), t.ones(2)), "[2]", "[3]"
)
T.expr(
    "bce range", R, lambda t: loss(t, "binary_cross_entropy", t.ones(1) * 2, t.ones(1)), "0", "1"
)
T.expr(
    "bce with logits",
    V,
    lambda t: loss(t, "binary_cross_entropy_with_logits", t.ones(3), t.ones(2)),
    "[2]",
    "[3]",
)
T.expr(
    "huber delta",
    (R, V),
    lambda t: t.nn.functional.huber_loss(t.ones(1), t.ones(1), delta=-1.0),
    "delta",
)


def loss(t, name, x, y):
    return getattr(t.nn.functional, name)(x, y)


# ---- modules -----------------------------------------------------------------------------------------
def plain(t):
    return t.nn.Linear(2, 2)


@T.case(AttributeError, "before Module.__init__() call")
def module_without_super_init(t):
    class Net(t.nn.Module):
        def __init__(self):
            self.layer = plain(t)

    Net()


@T.case(AttributeError, "before Module.__init__() call")
def parameter_without_super_init(t):
    class Net(t.nn.Module):
        def __init__(self):
            self.weight = t.nn.Parameter(t.ones(2))

    Net()


@T.case(NotImplementedError, "forward", "Net")
def module_without_forward(t):
    class Net(t.nn.Module):
        pass

    Net()(t.ones(1))


T.expr("missing attribute", AttributeError, lambda t: plain(t).nothing, "Linear", "nothing")
T.expr("a list as a module", TY, lambda t: t.nn.Sequential([plain(t)]), "list", "Module")
T.expr("Sequential index", IX, lambda t: t.nn.Sequential(plain(t))[1], "1", "out of range")
T.expr("ModuleList index", IX, lambda t: t.nn.ModuleList([plain(t)])[2], "2", "out of range")
T.expr("ModuleList of numbers", TY, lambda t: t.nn.ModuleList([1]), "int", "Module")
T.expr("ModuleDict key", KeyError, lambda t: t.nn.ModuleDict({})["a"], "a")
T.expr("call of a container", NotImplementedError, lambda t: t.nn.ModuleList()(1), "forward")
T.expr(
    "parameter name", KeyError, lambda t: plain(t).register_parameter("a.b", None), "a.b", "contain"
)
T.expr("no parameter name", KeyError, lambda t: plain(t).register_parameter("", None), "empty")
T.expr(
    "parameter twice", KeyError, lambda t: plain(t).register_parameter("forward", None), "forward"
)
T.expr("not a parameter", TY, lambda t: plain(t).register_parameter("p", t.ones(1)), "Parameter")
T.expr("parameter of ints", R, lambda t: t.nn.Parameter(t.ones(1).long()), "floating point")
T.expr("buffer of a list", TY, lambda t: plain(t).register_buffer("b", [1]), "list", "Tensor")
T.expr("buffer twice", KeyError, lambda t: plain(t).register_buffer("weight", None), "weight")
T.expr("add_module", TY, lambda t: plain(t).add_module("m", t.ones(1)), "Module")
T.expr("get_submodule", AttributeError, lambda t: plain(t).get_submodule("a.b"), "a")
T.expr("get_parameter", AttributeError, lambda t: plain(t).get_parameter("bias.x"), "bias")
T.expr("train of a string", V, lambda t: plain(t).train("yes"), "bool")
T.expr("to ints", TY, lambda t: plain(t).to(t.int64), "floating", "int64")


@T.case(TY, "p", "Parameter", "Tensor")
def parameter_from_a_result(t):
    net = plain(t)
    net.register_parameter("p", None)
    net.p = t.nn.Parameter(t.ones(2)) * 2


@T.case(TY, "weight", "Parameter")
def tensor_in_place_of_a_parameter(t):
    plain(t).weight = t.ones(2, 2)


@T.case(V, "leaf")
def register_a_non_leaf(t):
    p = t.nn.Parameter(t.ones(2))
    made = p * 2
    made.__class__ = t.nn.Parameter
    plain(t).register_parameter("p", made)


T.expr("no state", TY, lambda t: plain(t).load_state_dict([1]), "dict", "list")
T.expr("missing key", R, lambda t: plain(t).load_state_dict({}), "Missing", '"weight", "bias"')


@T.case(R, "Linear", "Unexpected key(s)", '"extra"')
def unexpected_key(t):
    net = plain(t)
    net.load_state_dict({**net.state_dict(), "extra": t.ones(1)})


@T.case(R, "size mismatch for weight", "[3, 2]", "[2, 2]")
def state_of_another_size(t):
    plain(t).load_state_dict(t.nn.Linear(2, 3).state_dict())


@T.case(R, "weight", "list")
def state_that_is_no_tensor(t):
    plain(t).load_state_dict({"weight": [1.0], "bias": t.ones(2)})


@T.case(R, "0.weight", "Missing", "Unexpected", "module.0.weight")
def state_of_a_wrapped_module(t):
    net = t.nn.Sequential(plain(t))
    net.load_state_dict({f"module.{k}": v for k, v in net.state_dict().items()})


@T.parametrize()
def test_misuse(case):
    check(case)


@T.parametrize(reference=True)
def test_as_torch(case):
    pytest.importorskip("torch")
    compare(case)
