"""Wrong dtypes, devices and values of arguments."""

import pytest
from misuse_table import Table, check, compare

T = Table()
R, V, IX, TY = RuntimeError, ValueError, IndexError, TypeError

# ---- dtypes ----------------------------------------------------------------------------------------
T.expr(
    "ints that require grad",
    R,
    lambda t: t.tensor([1], requires_grad=True),
    "floating point",
    "int64",
)
T.expr("ints require_grad_", R, lambda t: t.ones(2).long().requires_grad_(), "floating point")
T.expr("add_ float to int", R, lambda t: t.ones(2).int().add_(0.5), "Float", "Int")
T.expr("div_ of ints", R, lambda t: t.ones(2).long().div_(2), "Float", "Long")
T.expr("mul_ tensor to int", R, lambda t: t.ones(2).int().mul_(t.ones(2)), "Float", "Int")
T.expr("out dtype", R, lambda t: t.add(t.ones(2), 1, out=t.ones(2).long()), "Float", "Long")
T.expr("and of floats", R, lambda t: t.ones(2) & t.ones(2), "bitwise_and", "Float")
T.expr("not of floats", (R, TY), lambda t: ~t.ones(2), "loat")
T.expr("shift of floats", R, lambda t: t.ones(2) << t.ones(2), "loat")
T.expr("minus of bools", R, lambda t: t.tensor([True]) - t.tensor([True]), "bool")
T.expr("negative of bools", R, lambda t: -t.tensor([True]), "bool")
T.expr("matmul of dtypes", R, lambda t: t.ones(2, 2) @ t.ones(2, 2).double(), "float", "double")
T.expr("mean of ints", R, lambda t: t.ones(2).long().mean(), "floating point", "Long")
T.expr("norm of ints", R, lambda t: t.linalg.norm(t.ones(2).long()), "floating point", "int64")
T.expr("softmax of ints", R, lambda t: t.softmax(t.ones(2).long(), 0), "softmax", "Long")
T.expr("order of complex", R, lambda t: t.ones(2, dtype=t.complex64) < 1, "lt", "Complex")
T.expr("sort of complex", R, lambda t: t.ones(2, dtype=t.complex64).sort(), "omplex")
T.expr("max of complex", R, lambda t: t.ones(2, dtype=t.complex64).max(), "omplex")
T.expr("floor of complex", R, lambda t: t.floor(t.ones(2, dtype=t.complex64)), "omplex")
T.expr("float of complex", R, lambda t: float(t.tensor(1j)), "overflow")
T.expr("view_as_real of floats", R, lambda t: t.view_as_real(t.ones(2)), "complex")
T.expr("view in a wider dtype", R, lambda t: t.ones(3).view(t.float64), "3", "2")
T.expr("arange without step", R, lambda t: t.arange(0, 5, 0), "step", "nonzero")
T.expr("arange backwards", R, lambda t: t.arange(5, 0), "step", "5 to 0 by 1")
T.expr("linspace", R, lambda t: t.linspace(0, 1, -3), "non-negative", "-3")
T.expr("tensor of strings", V, lambda t: t.tensor(["a"]), "str")
T.expr("tensor of None", R, lambda t: t.tensor(None), "None")
T.expr("a dtype by name", TY, lambda t: t.ones(2, dtype="float32"), "dtype", "str")
T.expr("an unknown argument", TY, lambda t: t.ones(2).sum(axes=0), "sum", "axes")
T.expr("add a string", TY, lambda t: t.add(t.ones(2), "a"), "str")
T.expr("a string plus", TY, lambda t: t.ones(2) + "a", "str")
T.expr("relu of a list", TY, lambda t: t.relu([1.0]), "Tensor", "list")
T.expr("cat of a tensor", TY, lambda t: t.cat(t.ones(2)), "Tensor")
T.expr("cat of numbers", TY, lambda t: t.cat([1, 2]), "Tensor", "int")
T.expr("default dtype", TY, lambda t: t.set_default_dtype(t.int64), "floating")
T.expr("finfo of ints", TY, lambda t: t.finfo(t.int32), "float")
T.expr("iinfo of floats", TY, lambda t: t.iinfo(t.float32), "iinfo")
T.expr("from_numpy of a list", TY, lambda t: t.from_numpy([1]), "ndarray", "list")
T.expr("attribute", AttributeError, lambda t: t.ones(2).no_such_thing, "no_such_thing", "Tensor")
T.expr("module attribute", AttributeError, lambda t: t.no_such_thing, "no_such_thing")
T.expr("size by a float", TY, lambda t: t.ones(2.5), "float")
T.expr("clamp without bounds", (R, V), lambda t: t.ones(2).clamp(), "min", "max")
T.expr("one argument too many", TY, lambda t: t.relu(t.ones(1), 2), "relu", "2")

# ---- values of arguments ---------------------------------------------------------------------------
T.expr("dropout", V, lambda t: t.nn.functional.dropout(t.ones(2), 1.5), "0 and 1", "1.5")
T.expr("Dropout", V, lambda t: t.nn.Dropout(-0.1), "0 and 1", "-0.1")
T.expr("bernoulli", R, lambda t: t.bernoulli(t.tensor([1.5])), "p_in <= 1", "1.5")
T.expr("normal", R, lambda t: t.normal(0.0, -1.0, (2,)), "std", "-1")
T.expr("uniform_", R, lambda t: t.ones(2).uniform_(1.0, 0.0), "1", "0")
T.expr("randint", R, lambda t: t.randint(5, 5, (2,)), "5")
T.expr("randperm", R, lambda t: t.randperm(-1), "-1")
T.expr("multinomial", R, lambda t: t.multinomial(t.tensor([-1.0, 2.0]), 1), "< 0")
T.expr("too many draws", R, lambda t: t.multinomial(t.ones(2), 3), "2", "3")
T.expr("seed", (R, TY, V), lambda t: t.manual_seed("x"), "x")
T.expr("generator state", (R, TY), lambda t: t.set_rng_state(t.ones(3)), "ByteTensor")
T.expr("div rounding", R, lambda t: t.div(t.ones(2), 2, rounding_mode="up"), "floor", "up")
T.expr("reduction", V, lambda t: t.nn.functional.mse_loss(t.ones(2), t.ones(2), reduction="x"), "x")
T.expr(
    "interpolate", V, lambda t: t.nn.functional.interpolate(t.ones(1, 1, 4)), "size", "scale_factor"
)
T.expr(
    "interpolate mode",
    NotImplementedError,
    lambda t: t.nn.functional.interpolate(t.ones(1, 1, 4), 2, mode="bilinear"),
    "4D",
    "3D",
)

# ---- devices ---------------------------------------------------------------------------------------
T.expr("an unknown device", R, lambda t: t.device("gpu"), "gpu", "cpu")
T.expr("a bad device", R, lambda t: t.device("cpu:x"), "cpu:x")
T.expr("a negative device", R, lambda t: t.device("cuda", -2), "-2")
T.expr("tensor on an unknown device", R, lambda t: t.ones(2, device="gpu:0"), "gpu")
T.expr("to an unknown device", R, lambda t: t.ones(2).to("nowhere"), "nowhere")
T.expr("a device of a list", TY, lambda t: t.device([0]), "list")
T.expr("data of meta", NotImplementedError, lambda t: t.ones(2, device="meta").cpu(), "meta")
T.expr("numpy of meta", (R, TY), lambda t: t.ones(2, device="meta").numpy(), "meta")
T.expr("item of meta", R, lambda t: t.ones((), device="meta").item(), "meta")
T.expr("meta and cpu", R, lambda t: t.ones(2, device="meta") + t.ones(2), "meta", "cpu")
T.expr(
    "cpu @ meta",
    R,
    lambda t: t.ones(2, 2) @ t.ones(2, 2, device="meta"),
    "meta",
    "cpu",
    ours=True,  # PyTorch 2.13 returns a meta tensor
)
T.expr("cat of devices", R, lambda t: t.cat([t.ones(2, device="meta"), t.ones(2)]), "meta", "cpu")
T.expr("linear on meta", R, lambda t: t.nn.Linear(2, 2, device="meta")(t.ones(1, 2)), "meta", "cpu")
T.expr("bool of meta", R, lambda t: bool(t.ones((), device="meta")), "meta")
T.expr(
    "module from meta",
    NotImplementedError,
    lambda t: t.nn.Linear(2, 2, device="meta").to("cpu"),
    "meta",
    "to_empty",
)


@T.case(AssertionError, "CUDA", "expected", "got", ours=True)
def cuda_without_a_gpu(t):
    assert not t.cuda.is_available(), "CUDA: expected none, got a GPU"
    t.ones(2).cuda()


@T.case(AssertionError, "CUDA", "expected", "got", ours=True)
def ones_on_cuda_without_a_gpu(t):
    assert not t.cuda.is_available(), "CUDA: expected none, got a GPU"
    t.ones(2, device="cuda:0")


@T.parametrize()
def test_misuse(case):
    check(case)


@T.parametrize(reference=True)
def test_as_torch(case):
    pytest.importorskip("torch")
    compare(case)
