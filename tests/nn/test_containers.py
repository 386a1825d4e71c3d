"""Containers: indexing, editing, printing, errors."""

from collections import OrderedDict
from typing import Any

import pytest

import distrib as torch
from distrib import nn


def three() -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())


def kinds(modules: Any) -> list[str]:
    return [type(m).__name__ for m in modules]


def test_sequential_editing() -> None:
    net = three()
    assert list(net[1:]._modules) == ["1", "2"]
    assert kinds([net[-1]]) == ["Sigmoid"]
    del net[0]
    assert list(net._modules) == ["0", "1"]
    net.insert(1, nn.GELU()).append(nn.ReLU()).extend([nn.Identity()])
    assert kinds(net) == ["Tanh", "GELU", "Sigmoid", "ReLU", "Identity"]
    assert kinds([net.pop(0)]) == ["Tanh"]
    net[0] = nn.ELU()
    assert kinds(net) == ["ELU", "Sigmoid", "ReLU", "Identity"]
    assert kinds(three() + net) == kinds(three()) + kinds(net)
    assert len(three() * 2) == 6
    net *= 2
    assert len(net) == 8
    named = nn.Sequential(OrderedDict(a=nn.ReLU(), b=nn.Tanh()))
    assert list(named[1:]._modules) == ["b"]
    assert named.b is named[1]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda s: s[5], IndexError, "index 5 is out of range"),
        (lambda s: s + 3, ValueError, "add operator supports only objects of Sequential class"),
        (lambda s: s * 0, ValueError, "Non-positive multiplication factor 0"),
        (lambda s: s * 1.5, TypeError, "unsupported operand"),
        (lambda s: s.insert(1, 3), AssertionError, "module should be of type"),
        (lambda s: s.insert(7, nn.ReLU()), IndexError, "Index out of range: 7"),
        (lambda s: s.append(3), TypeError, "int is not a Module subclass"),
        (lambda s: nn.ModuleList(3), TypeError, "ModuleList.extend should be called with an iter"),
        (lambda s: nn.ModuleList([s])[3], IndexError, "index 3 is out of range"),
        (lambda s: nn.ModuleDict({"type": s}), KeyError, "attribute 'type' already exists"),
        (lambda s: nn.ModuleDict([(1, 2, 3)]), ValueError, "has length 3; 2 is required"),
        (lambda s: nn.ModuleDict(3), TypeError, "ModuleDict.update should be called with an"),
        (lambda s: nn.ParameterList([])(1), RuntimeError, "ParameterList should not be called."),
        (lambda s: nn.ParameterDict({3: torch.ones(1)}), TypeError, "not a string"),
    ],
)
def test_misuse(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(three())


def test_module_list() -> None:
    layers = nn.ModuleList([nn.Linear(1, 2) for _ in range(3)])
    layers.insert(0, nn.ReLU())
    layers += [nn.Tanh()]
    assert repr(layers) == (
        "ModuleList(\n  (0): ReLU()\n  (1-3): 3 x Linear(in_features=1, out_features=2, "
        "bias=True)\n"
        "  (4): Tanh()\n)"
    )
    del layers[1:3]
    assert kinds(layers) == ["ReLU", "Linear", "Tanh"]
    assert list(layers._modules) == ["0", "1", "2"]
    assert kinds(layers[::-1]) == ["Tanh", "Linear", "ReLU"]
    assert kinds([layers.pop(-1)]) == ["Tanh"]
    assert len(layers + [nn.ReLU()]) == 3


def test_module_dict() -> None:
    parts = nn.ModuleDict({"a": nn.ReLU()})
    parts["b"] = nn.Tanh()
    parts.update([("c", nn.Identity())])
    assert list(parts) == ["a", "b", "c"]
    assert "b" in parts
    assert kinds([parts.pop("b")]) == ["Tanh"]
    assert [k for k, _ in parts.items()] == ["a", "c"]
    parts.clear()
    assert len(parts) == 0
    assert not hasattr(parts, "a")


def test_parameter_list() -> None:
    items = nn.ParameterList([torch.ones(2), "text", nn.Parameter(torch.ones(2, 3))])
    assert type(items[0]) is nn.Parameter
    assert repr(items) == (
        "ParameterList(\n    (0): Parameter containing: [torch.float32 of size 2]\n"
        "    (1): Object of type: str\n"
        "    (2): Parameter containing: [torch.float32 of size 2x3]\n)"
    )
    assert list(items.state_dict()) == ["0", "2"]
    items[0] = torch.zeros(1)
    assert items[0].shape == (1,)
    assert len(items[1:]) == 2
    assert len(items.append(3)) == 4


def test_parameter_dict() -> None:
    items = nn.ParameterDict({"b": torch.ones(1), "a": torch.ones(2)})
    assert list(items) == ["a", "b"]
    assert [name for name, _ in items.named_parameters()] == ["a", "b"]
    assert list(items | {"c": torch.ones(1)}) == ["a", "b", "c"]
    assert items.popitem()[0] == "b"
    assert items.get("b") is None
    assert items.setdefault("z", torch.ones(1)).requires_grad
    assert items.pop("a").shape == (2,)
    items.clear()
    assert repr(items) == "ParameterDict()"
