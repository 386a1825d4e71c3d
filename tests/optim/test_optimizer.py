"""Optimizer itself: groups, errors, hooks, state, copies; PyTorch's words where it has them."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import distrib
from distrib import config, optim
from distrib.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from distrib.tensor import wrap


def parameter(*shape: int, module: Any = distrib) -> Any:
    return module.ones(shape, requires_grad=True)


def stepped(optimizer: Any, times: int = 1) -> Any:
    for _ in range(times):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = wrap(np.full(p._a.shape, 0.5, p._a.dtype))
        optimizer.step()
    return optimizer


# ---- construction --------------------------------------------------------------------------------
def _wrong() -> dict[str, Callable[[Any], Any]]:
    """What must fail here as it does there; t is the module, with its parameter as t.p()."""
    cases: dict[str, Callable[[Any], Any]] = {
        "a tensor": lambda t: t.optim.SGD(t.p()),
        "nothing": lambda t: t.optim.SGD([]),
        "numbers": lambda t: t.optim.SGD([1, 2]),
        "numbers in a group": lambda t: t.optim.SGD([{"params": [1]}]),
        "a set": lambda t: t.optim.SGD([{"params": {t.p()}}]),
        "a group without params": lambda t: t.optim.SGD([{"lr": 1}]),
        "no leaf": lambda t: t.optim.SGD([t.p() * 2]),
        "twice": lambda t: (lambda p: t.optim.SGD([p, p]))(t.p()),
        "in two groups": lambda t: (lambda p: t.optim.SGD([{"params": p}, {"params": p}]))(t.p()),
        "some names": lambda t: t.optim.SGD([("a", t.p()), t.p()]),
        "names once": lambda t: t.optim.SGD([{"params": [("a", t.p())]}, {"params": t.p()}]),
        "later names": lambda t: t.optim.SGD([t.p()]).add_param_group({"params": [("a", t.p())]}),
        "no group": lambda t: t.optim.SGD([t.p()]).add_param_group([1]),
        "two rates": lambda t: t.optim.SGD([t.p()], lr=t.tensor([1.0, 2.0])),
        "tensor and foreach": lambda t: t.optim.Adam([t.p()], lr=t.tensor(1.0), foreach=True),
        "one beta": lambda t: t.optim.Adam([t.p()], betas=(0.9, t.tensor(0.9))),
        "fused and foreach": lambda t: t.optim.SGD([t.p()], fused=True, foreach=True),
        "fused, recorded": lambda t: t.optim.Adam([t.p()], fused=True, differentiable=True),
        "nesterov": lambda t: t.optim.SGD([t.p()], nesterov=True),
        "groups of LBFGS": lambda t: t.optim.LBFGS([{"params": t.p()}, {"params": t.p()}]),
        "Muon of a vector": lambda t: t.optim.Muon([t.p()]),
        "no step": lambda t: t.optim.Optimizer([t.p()], {}).step(),
        "fewer groups": lambda t: t.optim.SGD([t.p()]).load_state_dict(
            {"state": {}, "param_groups": []}
        ),
        "fewer parameters": lambda t: t.optim.SGD([t.p()]).load_state_dict(
            {"state": {}, "param_groups": [{"params": []}]}
        ),
    }  # fmt: skip
    bad = {
        "SGD": {"lr": -1, "momentum": -1, "weight_decay": -1},
        "Adam": {"lr": -1, "eps": -1, "weight_decay": -1, "betas": (0.9, 1.0)},
        "AdamW": {"betas": (1.0, 0.9)},
        "RMSprop": {"lr": -1, "alpha": -1, "eps": -1, "momentum": -1, "weight_decay": -1},
        "Adagrad": {"lr": -1, "lr_decay": -1, "initial_accumulator_value": -1, "eps": -1},
        "Adadelta": {"lr": -1, "rho": 1.1, "eps": -1, "weight_decay": -1},
        "Adamax": {"lr": -1, "betas": (0.0, 1.0), "eps": -1, "weight_decay": -1},
        "NAdam": {"lr": -1, "momentum_decay": -1, "weight_decay": -1},
        "RAdam": {"lr": -1, "betas": (-1, 0.5), "eps": -1},
        "ASGD": {"lr": -1, "weight_decay": -1},
        "Rprop": {"lr": -1, "etas": (1.0, 0.5)},
        "Adafactor": {"lr": -1, "beta2_decay": 0.8, "eps": (-1, 1), "d": 0.5, "weight_decay": -1},
        "SparseAdam": {"lr": -1, "eps": -1, "betas": (0.5, 1.5)},
    }
    for name, options in bad.items():
        for key, value in options.items():
            cases[f"{name}, {key}={value}"] = (
                lambda t, name=name, kw={key: value}: getattr(t.optim, name)([t.p()], **kw)
            )  # fmt: skip
    return cases


WRONG = _wrong()


class Here:
    optim, tensor = optim, staticmethod(distrib.tensor)

    @staticmethod
    def p() -> Any:
        return parameter(3)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_construction_fails_as_in_pytorch(name: str) -> None:
    reference = pytest.importorskip("torch")

    class There:
        optim, tensor = reference.optim, staticmethod(reference.tensor)

        @staticmethod
        def p() -> Any:
            return parameter(3, module=reference)

    def outcome(module: Any) -> BaseException:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            with pytest.raises(Exception) as caught:
                WRONG[name](module)
        return caught.value

    want, got = outcome(There), outcome(Here)
    assert type(got) is type(want)
    assert str(got) == str(want)


def test_defaults_printing_and_layout_are_pytorchs() -> None:
    reference = pytest.importorskip("torch")
    for name in optim.__all__:
        if name[0].islower() or name == "Optimizer":
            continue
        ours = getattr(optim, name)([parameter(2, 2)])
        theirs = getattr(reference.optim, name)([parameter(2, 2, module=reference)])
        assert list(ours.defaults.items()) == list(theirs.defaults.items()), name
        assert repr(ours) == repr(theirs)
        want = theirs.state_dict()["param_groups"][0]
        assert list(ours.state_dict()["param_groups"][0].items()) == list(want.items())
    named = {"params": [("w", parameter(2)), ("b", parameter(1))], "lr": 0.5}
    optimizer = optim.SGD([named])
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["w", "b"]


# ---- steps ---------------------------------------------------------------------------------------
def test_a_step_marks_parameters_as_changed() -> None:
    for name in ("SGD", "AdamW", "RMSprop", "Adafactor"):
        p = parameter(3)
        before = p._version
        stepped(getattr(optim, name)([p]))
        assert p._version == before + 1, name
    p = parameter(3)
    kept = (p * p).sum()
    stepped(optim.SGD([p]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kept.backward()


def test_parameters_keep_their_memory_and_nothing_is_recorded() -> None:
    p = parameter(4)
    memory = p._a
    optimizer = stepped(optim.AdamW([p], lr=0.1), 3)
    assert p._a is memory
    assert p.is_leaf
    assert all(not t.requires_grad for t in optimizer.state[p].values())


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "LBFGS"])
def test_closures_are_called_with_gradients_on(name: str) -> None:
    p = parameter(2)
    optimizer = getattr(optim, name)([p], lr=0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with distrib.no_grad():
        first = optimizer.step(closure)
    assert float(closure()) < float(first)


def test_zero_grad() -> None:
    p = parameter(2)
    optimizer = optim.SGD([p])
    p.grad = distrib.ones(2)
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad
    assert grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None
    optimizer.step()
    assert p.tolist() == [1.0, 1.0]


def test_state_replaced_by_hand_is_noticed() -> None:
    for kernels in (True, False):
        with config.override(DISTRIB_KERNELS=kernels):
            p, q = parameter(3), parameter(3)
            one, two = optim.Adam([p], lr=0.1), optim.Adam([q], lr=0.1)
            stepped(one, 3)
            stepped(two, 1)
            q.data = distrib.tensor(p.tolist())
            two.state[q]["exp_avg"] = one.state[p]["exp_avg"].clone()
            two.state[q]["exp_avg_sq"].copy_(one.state[p]["exp_avg_sq"])
            two.state[q]["step"].fill_(3)
            stepped(one)
            stepped(two)
            assert p.tolist() == q.tolist()
            assert two.state[q]["step"].item() == 4.0


def test_parameters_and_options_that_change_between_steps() -> None:
    p, q = parameter(3), parameter(2)
    optimizer = stepped(optim.SGD([p], lr=0.1))
    optimizer.add_param_group({"params": [q], "lr": 0.2})
    stepped(optimizer)
    assert q.tolist() == pytest.approx([0.9, 0.9])
    optimizer.param_groups[0]["momentum"] = 0.9
    stepped(optimizer)
    assert "momentum_buffer" in optimizer.state[p]
    p.data = distrib.zeros(3)
    stepped(optimizer)
    assert p.tolist() == pytest.approx([-0.095] * 3)


def test_gradients_that_do_not_fit() -> None:
    p = parameter(3)  # written past the check of p.grad: the update checks as well
    for optimizer in (optim.SGD([p]), optim.RMSprop([p]), optim.Adafactor([p])):
        p._grad = wrap(np.ones(4, np.float32))
        with pytest.raises(RuntimeError, match=r"expected \(3,\), got \(4,\)"):
            optimizer.step()
        p._grad = wrap(np.ones(3, np.float64))
        optimizer.step()
        assert p._a.dtype == np.float32


def test_tensor_rates_and_betas() -> None:
    p, q = parameter(3), parameter(3)
    lr = distrib.tensor(0.1)
    optimizer = optim.Adam([p], lr=lr, betas=(distrib.tensor(0.8), distrib.tensor(0.9)))
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    stepped(optimizer)
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == pytest.approx(0.05)
    stepped(optimizer)
    plain = stepped(optim.Adam([q], lr=0.1, betas=(0.8, 0.9)))
    plain.param_groups[0]["lr"] = 0.05
    stepped(plain)
    assert p.tolist() == pytest.approx(q.tolist(), rel=1e-6)


def test_capturable_needs_a_gpu() -> None:
    for name in ("Adam", "NAdam", "ASGD"):
        with pytest.raises(AssertionError, match="If capturable=True, params"):
            stepped(getattr(optim, name)([parameter(2)], capturable=True))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"momentum": 0.9, "weight_decay": 0.1}), ("Adam", {"amsgrad": True}),
        ("RMSprop", {"centered": True}), ("NAdam", {}), ("Rprop", {}), ("ASGD", {}),
        ("Adamax", {}), ("RAdam", {}), ("Adagrad", {}), ("Adadelta", {}),
    ],
)  # fmt: skip
def test_a_differentiable_step_has_a_gradient(name: str, options: dict[str, Any]) -> None:
    results = []
    for differentiable in (True, False):
        start = distrib.tensor([1.0, 2.0, -1.0], requires_grad=differentiable)
        p = start.clone() if differentiable else start
        made = getattr(optim, name)([p], lr=0.1, differentiable=differentiable, **options)
        for scale in (0.5, -0.2):
            p.grad = distrib.tensor([1.0, -2.0, 0.3]) * scale
            made.step()
        results.append(p.tolist())
        if differentiable:
            p.sum().backward()
            assert start.grad is not None
    assert results[0] == pytest.approx(results[1], rel=1e-5)


def test_meta_parameters() -> None:
    p = distrib.empty(3, 2, device="meta", requires_grad=True)
    p.grad = distrib.empty(3, 2, device="meta")
    optimizer = optim.AdamW([p])
    optimizer.step()
    assert optimizer.state[p]["exp_avg"].is_meta


# ---- hooks, copies -------------------------------------------------------------------------------
def test_hooks_around_a_step() -> None:
    seen: list[str] = []

    class Twice(optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    optimizer = Twice([parameter(2)])
    handles = [
        register_optimizer_step_pre_hook(lambda o, a, k: seen.append("all before")),
        optimizer.register_step_pre_hook(lambda o, a, k: seen.append("before")),
        optimizer.register_step_post_hook(lambda o, a, k: seen.append("after")),
        register_optimizer_step_post_hook(lambda o, a, k: seen.append("all after")),
    ]
    optimizer.step()
    assert seen == ["all before", "before", "after", "all after"]
    for handle in handles:
        handle.remove()
    optimizer.register_step_pre_hook(lambda o, a, k: ((), {"closure": lambda: 7}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda o, a, k: 3)
    with pytest.raises(RuntimeError, match="must return None or a tuple of"):
        optimizer.step()
    assert len(seen) == 4


def test_hooks_around_state_dicts() -> None:
    optimizer, seen = stepped(optim.Adam([parameter(2)])), []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("pre"))
    optimizer.register_state_dict_post_hook(lambda o, s: {**s, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda o, s: seen.append("load"), prepend=True)
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    state = optimizer.state_dict()
    assert state["extra"] == 1
    optimizer.load_state_dict(state)
    assert seen == ["pre", "load", "loaded"]


def test_loaded_state_takes_the_dtype_of_its_parameter() -> None:
    saved = stepped(optim.Adam([parameter(2)], lr=0.3)).state_dict()
    p = distrib.ones(2, dtype=distrib.float64, requires_grad=True)
    optimizer = optim.Adam([p])
    optimizer.load_state_dict(saved)
    assert optimizer.state[p]["exp_avg"].dtype is distrib.float64
    assert optimizer.state[p]["step"].dtype is distrib.float32
    assert optimizer.param_groups[0]["lr"] == 0.3
    saved["param_groups"][0]["lr"] = 9
    assert optimizer.param_groups[0]["lr"] == 0.3
    old = {"state": {0: {**saved["state"][0], "step": 5}}, "param_groups": saved["param_groups"]}
    optimizer.load_state_dict(old)  # from when the step was a number
    assert optimizer.state[p]["step"].item() == 5.0


@pytest.mark.parametrize("how", ["copy", "pickle"])
def test_copies_go_on_alike(how: str) -> None:
    p = parameter(3)
    optimizer = stepped(optim.AdamW([p], lr=0.1), 2)
    both = (p, optimizer)
    q, other = copy.deepcopy(both) if how == "copy" else pickle.loads(pickle.dumps(both))
    assert other.param_groups[0]["params"][0] is q
    stepped(optimizer, 2)
    stepped(other, 2)
    assert p.tolist() == q.tolist()
    assert other.state[q]["step"].item() == 4.0


def test_no_cycle_keeps_parameters_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        p = parameter(3)
        optimizer = stepped(optim.AdamW([p]))
        gone = weakref.ref(p)
        del p, optimizer
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("kernels", [True, False])
def test_swapped_parameters_and_state(kernels: bool) -> None:
    with config.override(DISTRIB_KERNELS=kernels):
        p, q = parameter(3), parameter(3)
        optimizer = stepped(optim.Adam([p], lr=0.1), 2)
        before = p.tolist()
        state = copy.deepcopy(optimizer.state_dict())
        q.data = p.data.clone()
        with optim.swap_in_optimizer_params_and_state(optimizer, {"w": q}, state):
            stepped(optimizer)
        assert p.tolist() == before
        assert q.tolist() != before
        assert optimizer.state[p]["step"].item() == 2.0
        stepped(optimizer)
        assert p.tolist() == q.tolist()
        with pytest.raises(ValueError, match="expected 1 in 1 groups, got 0"):
            optim.swap_in_optimizer_params_and_state(optimizer, {}, state).__enter__()


def test_averages_of_weights() -> None:
    swa = optim.swa_utils
    a, b = distrib.tensor([1.0, 2.0]), distrib.tensor([3.0, 6.0])
    assert swa.get_ema_avg_fn(0.9)(a, b, 1).tolist() == pytest.approx([1.2, 2.4])
    assert swa.get_swa_avg_fn()(a, b, 1).tolist() == [2.0, 4.0]
    counts = [distrib.tensor([1]), distrib.tensor([5])]
    swa.get_swa_multi_avg_fn()([a, counts[0]], [b, counts[1]], 1)
    assert a.tolist() == [2.0, 4.0]
    assert counts[0].tolist() == [5]
