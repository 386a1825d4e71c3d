"""Hooks of modules: order, arguments, replacement, errors, and the way back to plain calls."""

from typing import Any

import pytest

import distrib as torch
from distrib import nn
from distrib.nn.modules import module as hooks_of_all


def test_forward_hooks_replace_and_are_removed() -> None:
    net = nn.Linear(2, 2)
    x = torch.ones(1, 2)
    plain = net(x).tolist()
    handle = net.register_forward_hook(lambda m, args, out: out * 0)
    assert not net._plain
    assert net(x).tolist() == [[0.0, 0.0]]
    handle.remove()
    assert net._plain
    assert net(x).tolist() == plain
    with net.register_forward_pre_hook(lambda m, args: args[0] * 0):
        assert net(x).tolist() == [net.bias.tolist()]
    assert net._plain


def test_order_prepend_and_kwargs() -> None:
    class Scale(nn.Module):
        def forward(self, x: Any, by: float = 1.0) -> Any:
            return x * by

    net = Scale()
    seen: list[str] = []
    net.register_forward_hook(lambda m, a, o: seen.append("second"))
    net.register_forward_hook(lambda m, a, o: seen.append("first"), prepend=True)
    net.register_forward_hook(lambda m, a, k, o: seen.append(f"by={k['by']}"), with_kwargs=True)
    net.register_forward_pre_hook(lambda m, a, k: (a, {"by": 3.0}), with_kwargs=True)
    assert net(torch.ones(1), by=2.0).item() == 3.0
    assert seen == ["first", "second", "by=3.0"]


def test_bad_pre_hook_result() -> None:
    net = nn.Identity()
    net.register_forward_pre_hook(lambda m, a, k: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="must return None or a tuple of"):
        net(torch.ones(1))


def test_always_called_hooks() -> None:
    class Broken(nn.Module):
        def forward(self, x: Any) -> Any:
            raise ValueError("inside")

    net = Broken()
    seen: list[Any] = []
    net.register_forward_hook(lambda m, a, o: seen.append("never"))
    net.register_forward_hook(lambda m, a, o: seen.append(o), always_call=True)
    with pytest.raises(ValueError, match="inside"):
        net(1)
    assert seen == [None]
    net.register_forward_hook(lambda m, a, o: 1 / 0, always_call=True)
    with (
        pytest.warns(UserWarning, match="silenced as another error was raised"),
        pytest.raises(ValueError, match="inside"),
    ):
        net(1)


def test_global_hooks_reach_all_modules_and_leave_no_trace() -> None:
    seen: list[str] = []
    net = nn.Sequential(nn.Identity(), nn.Identity())
    handle = hooks_of_all.register_module_forward_hook(
        lambda m, a, o: seen.append(type(m).__name__)
    )
    net(torch.ones(1))
    assert seen == ["Identity", "Identity", "Sequential"]
    handle.remove()
    assert net._plain
    net(torch.ones(1))
    assert len(seen) == 3


def test_registration_hooks_replace() -> None:
    with hooks_of_all.register_module_parameter_registration_hook(
        lambda m, name, p: nn.Parameter(torch.zeros(1))
    ):
        net = nn.Module()
        net.x = nn.Parameter(torch.ones(1))
    assert net.x.item() == 0.0


def test_hooks_put_in_by_hand_are_seen() -> None:
    net = nn.Identity()
    net._forward_hooks[0] = lambda m, a, o: o + 1
    assert net(torch.ones(1)).item() == 2.0
    net._forward_hooks.clear()
    assert net(torch.ones(1)).item() == 1.0


def test_full_backward_hook_sees_and_replaces_gradients() -> None:
    class Double(nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x * 2, y, 3

    net = Double()
    seen: list[Any] = []
    net.register_full_backward_pre_hook(lambda m, go: seen.append(go))
    net.register_full_backward_hook(lambda m, gi, go: (gi[0] * 10, None))
    x = torch.ones(2, requires_grad=True)
    out = net(x, torch.ones(2))
    assert out[0].grad_fn.name() == "BackwardHookFunctionBackward"
    out[0].sum().backward()
    assert x.grad.tolist() == [20.0, 20.0]
    assert [g if g is None else g.tolist() for g in seen[0]] == [[1.0, 1.0], None, None]


def test_full_backward_hook_without_input_gradients() -> None:
    net = nn.Linear(2, 1)
    seen: list[Any] = []
    net.register_full_backward_hook(lambda m, gi, go: seen.append(gi))
    with pytest.warns(UserWarning, match="no inputs require gradients"):
        net(torch.ones(1, 2)).sum().backward()
    assert seen == [(None,)]
    assert net.weight.grad.tolist() == [[1.0, 1.0]]


def test_backward_hook_with_wrong_number() -> None:
    net = nn.Identity()
    net.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    out = net(torch.ones(1, requires_grad=True))
    with pytest.raises(RuntimeError, match="invalid number of grad_input, got 2, but expected 1"):
        out.backward()


def test_one_kind_of_backward_hook() -> None:
    net = nn.Identity()
    net.register_full_backward_hook(lambda m, gi, go: None)
    with pytest.raises(RuntimeError, match="Cannot use both regular backward hooks and full"):
        net.register_backward_hook(lambda m, gi, go: None)
