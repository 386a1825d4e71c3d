"""Module: registration, attributes, error texts, traversal, modes, conversions, printing."""

import gc
import weakref
from typing import Any

import pytest

import distrib as torch
from distrib import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.scale = nn.Parameter(torch.ones(3))
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)
        self.tail = nn.Sequential(nn.ReLU(), nn.Linear(3, 1))

    def forward(self, x: Any) -> Any:
        return self.tail(self.first(x) * self.scale)


def test_names_come_in_pytorchs_order() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "tail.1.weight",
        "tail.1.bias",
    ]
    assert [n for n, _ in net.named_buffers()] == ["seen", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "tail", "tail.0", "tail.1"]
    assert [n for n, _ in net.named_parameters(prefix="net", recurse=False)] == ["net.scale"]


def test_shared_modules_and_parameters_come_once() -> None:
    layer = nn.Linear(1, 1)
    net = nn.Sequential(layer, layer)
    assert len(list(net.parameters())) == 2
    assert len(list(net.named_parameters(remove_duplicate=False))) == 4
    assert [n for n, _ in net.named_modules(remove_duplicate=False)] == ["", "0", "1"]
    assert list(net.children()) == [layer]


def test_attributes_follow_the_registries() -> None:
    net = Net()
    old, new = net.scale, nn.Parameter(torch.zeros(3))
    net.scale = new
    assert net._parameters["scale"] is net.scale is new is not old
    net._parameters["scale"] = old
    assert net.scale is old
    del net.scale
    assert "scale" not in net._parameters
    assert not hasattr(net, "scale")
    net.scale = torch.ones(1)
    assert "scale" not in dict(net.named_parameters())
    net.seen = torch.ones(1)
    assert net._buffers["seen"] is net.seen
    net.first = None
    assert net._modules["first"] is None
    assert net.first is None


def test_a_name_moves_between_kinds() -> None:
    net = nn.Module()
    net.thing = 3
    net.thing = nn.Parameter(torch.ones(1))
    assert list(net._parameters) == ["thing"]
    del net.thing
    net.thing = nn.ReLU()
    assert list(net._modules) == ["thing"]
    net.thing = nn.Tanh()
    assert list(net.named_children()) == [("thing", net.thing)]


def test_a_replaced_registry_still_serves() -> None:
    net = Net()
    net._parameters = {"scale": net.scale}
    net.scale = nn.Parameter(torch.zeros(3))
    assert dict(net.named_parameters())["scale"] is net.scale


def test_dropping_a_module_frees_it_without_the_collector() -> None:
    gc.disable()
    try:
        net = Net()
        alive = weakref.ref(net.first)
        del net
        assert alive() is None
    finally:
        gc.enable()


def before_init(kind: str) -> nn.Module:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.x = nn.ReLU() if kind == "module" else nn.Parameter(torch.ones(1))

    return Early()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda m: before_init("module"), AttributeError, "cannot assign module before Module"),
        (lambda m: before_init("p"), AttributeError, "cannot assign parameters before Module"),
        (lambda m: m.register_parameter(3, None), TypeError, "should be a string. Got int"),
        (lambda m: m.register_parameter("a.b", None), KeyError, "name can.*t contain"),
        (lambda m: m.register_parameter("", None), KeyError, "name can.*t be empty"),
        (lambda m: m.register_parameter("forward", None), KeyError, "already exists"),
        (lambda m: m.register_buffer("weight", None), KeyError, "already exists"),
        (lambda m: m.register_buffer("b", 3), TypeError, "cannot assign 'int' object to buffer"),
        (
            lambda m: m.register_parameter("q", torch.ones(1)),
            TypeError,
            r"cannot assign 'torch.FloatTensor' object to parameter 'q' \(torch.nn.Parameter or No",
        ),
        (lambda m: m.add_module("x", 3), TypeError, "int is not a Module subclass"),
        (
            lambda m: setattr(m, "weight", torch.ones(1)),
            TypeError,
            "cannot assign 'torch.FloatTensor' as parameter 'weight'",
        ),
        (lambda m: m.nope, AttributeError, "'Linear' object has no attribute 'nope'"),
        (lambda m: delattr(m, "nope"), AttributeError, "'Linear' object has no attribute 'nope'"),
        (lambda m: m.get_submodule("a"), AttributeError, "Linear has no attribute `a`"),
        (lambda m: m.get_submodule("weight"), AttributeError, "`weight` is not an nn.Module"),
        (lambda m: m.get_parameter("training"), AttributeError, "is not an nn.Parameter"),
        (lambda m: m.get_buffer("weight"), AttributeError, "`weight` is not a buffer"),
        (lambda m: m.set_submodule("", m), ValueError, "without a target name"),
        (lambda m: m.train(3), ValueError, "training mode is expected to be boolean"),
        (lambda m: m.to(torch.int32), TypeError, "only accepts floating point or complex"),
        (lambda m: nn.Module()(1), NotImplementedError, 'missing the required "forward"'),
        (lambda m: nn.Module(a=1), TypeError, "unexpected keyword argument 'a'"),
        (lambda m: nn.Module(1, 2), TypeError, "takes 1 positional argument but 3 were given"),
        (lambda m: nn.Parameter(torch.tensor([1])), RuntimeError, "Only Tensors of floating"),
    ],
)
def test_misuse(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(nn.Linear(2, 3))


def test_modes_and_flags() -> None:
    net = Net().eval()
    assert not any(m.training for m in net.modules())
    assert net.train().tail.training
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())
    seen: list[str] = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]


def test_zero_grad() -> None:
    net = nn.Linear(2, 1)
    net(torch.ones(1, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.weight.grad.tolist() == [[0.0, 0.0]]
    net.zero_grad()
    assert net.weight.grad is None


def test_conversions_keep_the_parameters_identity() -> None:
    net = Net()
    weight = net.first.weight
    net.first(torch.ones(1, 2)).sum().backward()
    grad = weight.grad
    net.double()
    assert net.first.weight is weight
    assert weight.dtype is torch.float64
    assert weight.grad is grad
    assert grad.dtype is torch.float64
    assert net.seen.dtype is torch.float64
    assert net.to(torch.float16).scale.dtype is torch.float16
    assert net.to("cpu", torch.float32).scale.dtype is torch.float32
    counter = nn.BatchNorm1d(2).half()
    assert counter.num_batches_tracked.dtype is torch.int64


def test_meta_and_to_empty() -> None:
    net = nn.Linear(2, 3, device="meta")
    assert net.weight.is_meta
    with pytest.raises(NotImplementedError, match="to_empty"):
        net.to("cpu")
    net.to_empty(device="cpu").reset_parameters()
    assert net.weight.device.type == "cpu"
    assert net.weight.requires_grad


def test_buffer_class() -> None:
    net = nn.Module()
    net.mean = nn.Buffer(torch.ones(2))
    net.temporary = nn.Buffer(torch.ones(2), persistent=False)
    assert list(net.state_dict()) == ["mean"]
    assert isinstance(net.mean, nn.Buffer)
    assert not isinstance(torch.ones(1), nn.Buffer)
    assert type(net.mean) is torch.Tensor


def test_parameter_is_a_leaf_that_shares_memory() -> None:
    data = torch.ones(2)
    param = nn.Parameter(data)
    data[0] = 5.0
    assert param.tolist() == [5.0, 1.0]
    assert param.is_leaf
    assert param.requires_grad
    assert type(param + 1) is torch.Tensor
    assert type(param.detach()) is torch.Tensor
    assert repr(param) == "Parameter containing:\ntensor([5., 1.], requires_grad=True)"
    assert nn.Parameter(param * 2).is_leaf


def test_repr() -> None:
    class Shown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.ReLU())

        def extra_repr(self) -> str:
            return "one\ntwo"

    assert repr(Shown()) == (
        "Shown(\n  one\n  two\n  (inner): Sequential(\n    (0): ReLU()\n  )\n)"
    )
    assert repr(nn.Module()) == "Module()"
    assert "first" in dir(Net())
    assert "0" not in dir(nn.Sequential(nn.ReLU()))


def test_getattr_override_sees_plain_attributes_first() -> None:
    class Wrapper(nn.Module):
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.module, name)

    wrapped = Wrapper(nn.Linear(2, 3))
    assert wrapped.in_features == 2
    with pytest.raises(AttributeError, match="'Linear' object has no attribute 'nope'"):
        _ = wrapped.nope
