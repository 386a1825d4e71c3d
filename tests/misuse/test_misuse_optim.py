"""Wrong use of optimizers, schedulers, data loading and saved files."""

import io
import pickle
import zipfile

import pytest
from misuse_table import Table, check, compare

T = Table()
R, V, IX, TY = RuntimeError, ValueError, IndexError, TypeError


# ---- optimizers --------------------------------------------------------------------------------------
def leaf(t):
    return t.ones(2, requires_grad=True)


T.expr("no parameters", V, lambda t: t.optim.SGD([], lr=0.1), "empty")
T.expr("a tensor", TY, lambda t: t.optim.SGD(leaf(t), lr=0.1), "iterable", "Tensor")
T.expr("numbers", TY, lambda t: t.optim.SGD([1.0], lr=0.1), "Tensor", "float")
T.expr("a result", V, lambda t: t.optim.SGD([leaf(t) * 2], lr=0.1), "non-leaf")
T.expr("negative lr", V, lambda t: t.optim.SGD([leaf(t)], lr=-0.1), "-0.1")
T.expr("negative momentum", V, lambda t: t.optim.SGD([leaf(t)], 0.1, momentum=-1.0), "-1.0")
T.expr("nesterov", V, lambda t: t.optim.SGD([leaf(t)], 0.1, nesterov=True), "momentum")
T.expr("weight decay", V, lambda t: t.optim.SGD([leaf(t)], 0.1, weight_decay=-1.0), "-1.0")
T.expr("Adam lr", V, lambda t: t.optim.Adam([leaf(t)], lr=-1.0), "-1.0")
T.expr("betas", V, lambda t: t.optim.Adam([leaf(t)], betas=(1.0, 0.9)), "beta", "0", "1.0")
T.expr("second beta", V, lambda t: t.optim.AdamW([leaf(t)], betas=(0.9, -0.1)), "1", "-0.1")
T.expr("eps", V, lambda t: t.optim.Adam([leaf(t)], eps=-1e-8), "epsilon", "-1e-08")
T.expr("RMSprop alpha", V, lambda t: t.optim.RMSprop([leaf(t)], alpha=-1.0), "alpha", "-1.0")
T.expr("unknown option", TY, lambda t: t.optim.SGD([leaf(t)], lr=0.1, speed=1), "speed")
T.expr("fused and foreach", R, lambda t: t.optim.Adam([leaf(t)], fused=True, foreach=True), "fused")
T.expr("a set", TY, lambda t: t.optim.SGD([{"params": {leaf(t)}}], lr=0.1), "set", "ordered")
T.expr("LBFGS groups", V, lambda t: t.optim.LBFGS([{"params": [leaf(t)]}] * 2), "group")


@T.case(V, "more than one parameter group")
def a_parameter_in_two_groups(t):
    p = leaf(t)
    t.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)


@T.case(TY, "dict", "list")
def a_group_that_is_no_dict(t):
    t.optim.SGD([leaf(t)], lr=0.1).add_param_group([leaf(t)])


@T.case(V, "group", "size")
def state_with_another_group_size(t):
    two, one = (t.optim.SGD([leaf(t) for _ in range(n)], lr=0.1) for n in (2, 1))
    one.load_state_dict(two.state_dict())


@T.case(V, "different number of parameter groups")
def state_with_other_groups(t):
    one = t.optim.SGD([leaf(t)], lr=0.1)
    two = t.optim.SGD([{"params": [leaf(t)]}, {"params": [leaf(t)]}], lr=0.1)
    two.load_state_dict(one.state_dict())


@T.case(R, "closure")
def LBFGS_without_closure(t):
    p = leaf(t)
    p.grad = t.ones(2)
    try:
        t.optim.LBFGS([p]).step()
    except TypeError as error:  # the signature asks for it
        raise RuntimeError(str(error)) from error


# ---- schedulers ----------------------------------------------------------------------------------------
def sgd(t, **options):
    return t.optim.SGD([leaf(t)], lr=0.1, **options)


T.expr("no optimizer", TY, lambda t: t.optim.lr_scheduler.StepLR([1], 2), "list", "Optimizer")
T.expr("resume without a start", KeyError, lambda t: step_lr(t, last_epoch=3), "initial_lr")
T.expr(
    "plateau factor",
    V,
    lambda t: t.optim.lr_scheduler.ReduceLROnPlateau(sgd(t), factor=1.5),
    "actor",
    "1.0",
)
T.expr("plateau mode", V, lambda t: t.optim.lr_scheduler.ReduceLROnPlateau(sgd(t), "up"), "up")
T.expr("lambdas", V, lambda t: t.optim.lr_scheduler.LambdaLR(sgd(t), [abs, abs]), "1", "2")
T.expr("one cycle", V, lambda t: t.optim.lr_scheduler.OneCycleLR(sgd(t), 0.1), "total_steps")
T.expr("pct_start", V, lambda t: one_cycle(t, pct_start=2.0), "pct_start", "2")
T.expr("past the cycle", V, lambda t: [s.step() for s in [one_cycle(t)] * 9], "4", "3")
T.expr("linear factor", V, lambda t: t.optim.lr_scheduler.LinearLR(sgd(t), 2.0), "actor")
T.expr("milestones", V, lambda t: sequential(t, 1, []), "2", "0")
T.expr("no schedulers", V, lambda t: sequential(t, 0, []), "schedul")
T.expr("restarts", V, lambda t: t.optim.lr_scheduler.CosineAnnealingWarmRestarts(sgd(t), 0), "0")
T.expr("cycle mode", V, lambda t: t.optim.lr_scheduler.CyclicLR(sgd(t), 0.1, 1.0, mode="x"), "mode")
T.expr("cycle momentum", V, lambda t: t.optim.lr_scheduler.CyclicLR(adagrad(t), 0.1, 1.0), "moment")


def adagrad(t):
    return t.optim.Adagrad([leaf(t)], lr=0.1)


def step_lr(t, **options):
    return t.optim.lr_scheduler.StepLR(sgd(t), 2, **options)


def one_cycle(t, **options):
    return t.optim.lr_scheduler.OneCycleLR(sgd(t, momentum=0.9), 0.1, total_steps=3, **options)


def sequential(t, count, milestones):
    opt = sgd(t)
    made = [t.optim.lr_scheduler.StepLR(opt, 2) for _ in range(count)]
    return t.optim.lr_scheduler.SequentialLR(opt, made * 2, milestones)


# ---- data ------------------------------------------------------------------------------------------------
def loader(t, data=None, **options):
    return t.utils.data.DataLoader([1, 2, 3] if data is None else data, **options)


T.expr("batch size 0", V, lambda t: loader(t, batch_size=0), "positive", "batch_size")
T.expr("batch size of text", (V, TY), lambda t: loader(t, batch_size="2"), "2")
T.expr("negative workers", V, lambda t: loader(t, num_workers=-1), "num_workers")
T.expr("negative timeout", V, lambda t: loader(t, timeout=-1), "timeout")
T.expr(
    "prefetch alone", V, lambda t: loader(t, prefetch_factor=2), "prefetch_factor", "num_workers"
)
T.expr("persistent alone", V, lambda t: loader(t, persistent_workers=True), "num_workers")
T.expr(
    "sampler and shuffle", V, lambda t: loader(t, sampler=[0], shuffle=True), "sampler", "shuffle"
)
T.expr("batch sampler", V, lambda t: loader(t, batch_sampler=[[0]], batch_size=2), "batch_sampler")
T.expr("no batch, drop", V, lambda t: loader(t, batch_size=None, drop_last=True), "drop_last")
T.expr("empty shuffle", V, lambda t: list(loader(t, [], shuffle=True)), "num_samples", "0")
T.expr("collate sizes", R, lambda t: list(unequal(t)), "[2]", "[3]")
T.expr("collate lengths", R, lambda t: list(loader(t, [[1], [1, 2]], batch_size=2)), "equal size")
T.expr("collate objects", TY, lambda t: list(loader(t, [object()])), "object")
T.expr("split lengths", V, lambda t: t.utils.data.random_split([1, 2, 3], [1, 1]), "3", "2")
T.expr("split fractions", V, lambda t: t.utils.data.random_split([1, 2], [-0.5, 1.5]), "0", "1")
T.expr("TensorDataset", AssertionError, lambda t: tensors(t, t.ones(2), t.ones(3)), "[2, 3]")
T.expr(
    "Dataset", NotImplementedError, lambda t: t.utils.data.Dataset()[0], "__getitem__", ours=True
)
T.expr("dataset without len", TY, lambda t: len(loader(t, stream(t))), "len")
T.expr("stream with sampler", V, lambda t: loader(t, stream(t), sampler=[0]), "sampler")
T.expr("stream with shuffle", V, lambda t: loader(t, stream(t), shuffle=True), "shuffle")
T.expr("ConcatDataset", AssertionError, lambda t: t.utils.data.ConcatDataset([]), "empty")
T.expr("concat index", V, lambda t: t.utils.data.ConcatDataset([[1]])[-3], "length")
T.expr("RandomSampler", V, lambda t: t.utils.data.RandomSampler([1], num_samples=-1), "-1")
T.expr("RandomSampler bool", TY, lambda t: t.utils.data.RandomSampler([1], replacement=1), "bool")
T.expr("weights", V, lambda t: t.utils.data.WeightedRandomSampler([1.0], 0), "num_samples", "0")
T.expr("BatchSampler", V, lambda t: t.utils.data.BatchSampler([0], 0, False), "batch_size", "0")
T.expr("batch drop_last", V, lambda t: t.utils.data.BatchSampler([0], 1, "no"), "drop_last", "no")


def tensors(t, *given):
    return t.utils.data.TensorDataset(*given)


def unequal(t):
    return loader(t, [t.ones(2), t.ones(3)], batch_size=2)


def stream(t):
    class Stream(t.utils.data.IterableDataset):
        def __iter__(self):
            return iter([1])

    return Stream()


@T.case(V, "batch_size", "initialized")
def change_a_loader(t):
    made = loader(t)
    made.batch_size = 3


# ---- files -----------------------------------------------------------------------------------------------
def saved(t, value=None):
    out = io.BytesIO()
    t.save({"a": t.arange(64.0)} if value is None else value, out)
    return out.getvalue()


def load(t, data, **options):
    return t.load(io.BytesIO(data), **options)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def rewritten(data, change):
    """The archive with the bytes of each record changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            changed = change(name, old.read(name))
            if changed is not None:
                new.writestr(name, changed)
    return out.getvalue()


def flipped(data):
    """One bit of the tensor's values is another."""
    at = data.index(b"\x00\x00\x80\x3f\x00\x00\x00\x40")
    return data[:at] + b"\x01" + data[at + 1 :]


T.expr("missing file", FileNotFoundError, lambda t: t.load("no-such-file.pt"), "no-such-file.pt")
T.expr("empty file", EOFError, lambda t: load(t, b""), "input")
T.expr("truncated file", R, lambda t: load(t, saved(t)[:200]), "archive")
T.expr(
    "random bytes",
    pickle.UnpicklingError,
    lambda t: load(t, b"\x13\x37 not a file" * 9),
    "no checkpoint",
)
T.expr("flipped byte", R, lambda t: load(t, flipped(saved(t))), "data/0", ours=True)
T.expr(
    "missing record",
    R,
    lambda t: load(t, rewritten(saved(t), lambda n, b: None if "data/0" in n else b)),
    "data/0",
)
T.expr(
    "short record",
    R,
    lambda t: load(t, rewritten(saved(t), lambda n, b: b[:8] if n.endswith("data/0") else b)),
    "8",
    "256",
)
T.expr(
    "malicious pickle",
    pickle.UnpicklingError,
    lambda t: load(t, saved(t, Evil())),
    "print",
    "weights_only",
)
T.expr(
    "unknown global",
    pickle.UnpicklingError,
    lambda t: load(t, saved(t, {"a": zipfile.ZipInfo("x")})),
    "ZipInfo",
    "weights_only",
)
T.expr("a plain pickle", pickle.UnpicklingError, lambda t: load(t, pickle.dumps(Evil())), "print")
T.expr("save to nowhere", R, lambda t: t.save({}, "no-such-folder/a.pt"), "no-such-folder")
T.expr("a number as a file", AttributeError, lambda t: t.save({}, 3), "write")
T.expr("load a number", AttributeError, lambda t: t.load(3), "int")
T.expr(
    "save a lambda", (pickle.PicklingError, AttributeError), lambda t: saved(t, lambda: 0), "lambda"
)
T.expr("map_location", R, lambda t: load(t, saved(t), map_location="gpu"), "gpu")


@T.parametrize()
def test_misuse(case):
    check(case)


@T.parametrize(reference=True)
def test_as_torch(case):
    pytest.importorskip("torch")
    compare(case)
