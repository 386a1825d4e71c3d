"""Every optimizer against the real PyTorch: twenty steps from the same start, state included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16

from distrib import config, optim
from distrib.tensor import wrap

reference = pytest.importorskip("torch")

SHAPES = [(4, 3), (3, 2), (5,), ()]
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {},
        {"lr": 0.1, "weight_decay": 0.5},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "weight_decay": 0.1, "maximize": True},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.5},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ],
    "Adam": [
        {},
        {"lr": 0.05, "weight_decay": 0.1},
        {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True, "maximize": True},
        {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "AdamW": [{}, {"lr": 0.05, "amsgrad": True}, {"lr": 0.05, "betas": (0.4, 0.7), "eps": 1e-3}],
    "RMSprop": [
        {},
        {"lr": 0.02, "momentum": 0.5},
        {"weight_decay": 0.1, "centered": True},
        {"weight_decay": 0.1, "centered": True, "momentum": 0.1, "maximize": True},
    ],
    "Adagrad": [
        {},
        {"lr": 0.1, "lr_decay": 0.5, "weight_decay": 0.1},
        {"initial_accumulator_value": 0.1, "maximize": True},
    ],
    "Adadelta": [{}, {"rho": 0.95, "weight_decay": 0.9, "maximize": True}],
    "Adamax": [{}, {"lr": 0.1, "weight_decay": 0.1, "maximize": True}],
    "NAdam": [
        {"lr": 0.05},
        {"weight_decay": 0.1, "momentum_decay": 0.006, "decoupled_weight_decay": True},
    ],
    "RAdam": [
        {"lr": 0.05, "betas": (0.9, 0.9)},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
        {"weight_decay": 0.1, "maximize": True},
    ],
    "ASGD": [{}, {"lr": 0.05, "t0": 5, "lambd": 0.1}, {"weight_decay": 0.1, "maximize": True}],
    "Rprop": [{}, {"lr": 0.02, "etas": (0.4, 1.5), "step_sizes": (2e-6, 0.03), "maximize": True}],
    "Adafactor": [
        {},
        {"weight_decay": 0.1, "lr": 0.05, "maximize": True},
        {"beta2_decay": -1.0, "d": 1.5, "eps": (1e-6, 1e-2)},
    ],
}
CASES = [(name, options) for name, found in CONFIGS.items() for options in found]
IDS = [f"{name}-{i}" for name, found in CONFIGS.items() for i in range(len(found))]


class Problem:
    """sum of ((p - goal) * scale)^2 with the gradient written out, the same on both sides."""

    def __init__(
        self, shapes: list[tuple[int, ...]] | None = None, dtype: Any = np.float32
    ) -> None:
        rng = np.random.RandomState(7)
        shapes = SHAPES if shapes is None else shapes
        self.start = [rng.uniform(-1, 1, s).astype(dtype) for s in shapes]
        self.goals = [rng.uniform(-1, 1, s) for s in shapes]
        self.scales = [rng.uniform(0.3, 1.5, s) for s in shapes]
        if np.dtype(dtype).kind == "c":
            self.start = [a + 1j * rng.uniform(-1, 1, a.shape) for a in self.start]
            self.start = [np.asarray(a, dtype) for a in self.start]
        self.ours = [wrap(a.copy()).requires_grad_() for a in self.start]
        self.theirs = [reference.tensor(host(a), requires_grad=True) for a in self.start]
        if dtype is bfloat16:
            self.theirs = [t.detach().bfloat16().requires_grad_() for t in self.theirs]

    def gradients(self, skip: frozenset[int] = frozenset()) -> None:
        rows = zip(self.ours, self.theirs, self.goals, self.scales, strict=True)
        for i, (our, their, goal, scale) in enumerate(rows):
            a = their.detach()
            a = a.float().numpy() if a.dtype == reference.bfloat16 else a.numpy()
            g = np.asarray(2 * (a - goal) * scale**2).astype(our._a.dtype)
            our.grad = None if i in skip else wrap(g.copy(order="K"))
            their.grad = None if i in skip else reference.tensor(host(g)).to(their.dtype)

    def same(self, tolerance: float = 2e-6) -> None:
        for our, their in zip(self.ours, self.theirs, strict=True):
            want = their.detach()
            want = want.float().numpy() if want.dtype == reference.bfloat16 else want.numpy()
            np.testing.assert_allclose(host(our._a), want, rtol=tolerance, atol=tolerance)


def host(a: np.ndarray) -> np.ndarray:
    return a.astype(np.float32) if a.dtype == bfloat16 else a


def pair(problem: Problem, name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    return (
        getattr(optim, name)(problem.ours, **options),
        getattr(reference.optim, name)(problem.theirs, **options),
    )


def same_state(ours: Any, theirs: Any, tolerance: float) -> None:
    mine, want = ours.state_dict(), theirs.state_dict()
    assert mine["param_groups"] == want["param_groups"]
    assert list(mine["state"]) == list(want["state"])
    for index, entry in want["state"].items():
        assert set(mine["state"][index]) == set(entry)
        for key, value in entry.items():
            got = mine["state"][index][key]
            assert str(got.dtype) == str(value.dtype), key
            assert tuple(got.shape) == tuple(value.shape), key
            np.testing.assert_allclose(
                host(got._a), value.float().numpy() if value.dtype == reference.bfloat16 else value,
                rtol=tolerance, atol=tolerance, err_msg=key,
            )  # fmt: skip


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "arrays"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_twenty_steps(name: str, options: dict[str, Any], kernels: bool) -> None:
    if not kernels or name in ("SGD", "Adam", "AdamW"):
        with config.override(DISTRIB_KERNELS=kernels):
            problem = Problem()
            ours, theirs = pair(problem, name, options)
            for _ in range(20):
                problem.gradients()
                ours.step()
                theirs.step()
                problem.same()
            same_state(ours, theirs, 2e-5)


@pytest.mark.parametrize(("name", "options"), [c for c in CASES if c[0] != "Adafactor"])
@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_other_dtypes(name: str, options: dict[str, Any], dtype: Any) -> None:
    problem = Problem(dtype=dtype)
    ours, theirs = pair(problem, name, options)
    for _ in range(10):
        problem.gradients()
        ours.step()
        theirs.step()
        problem.same(
            1e-5 if dtype is np.complex64 else 1e-6 if name in ("ASGD", "NAdam") else 1e-12
        )
    same_state(ours, theirs, 2e-5)


@pytest.mark.parametrize("name", ["SGD", "AdamW", "RMSprop"])
@pytest.mark.parametrize("dtype", [np.float16, bfloat16])
def test_half_precision_is_rounded_once_a_step(name: str, dtype: Any) -> None:
    problem = Problem(dtype=dtype)
    ours, theirs = pair(problem, name, {"lr": 0.01})
    for _ in range(5):
        problem.gradients()
        ours.step()
        theirs.step()
    problem.same(0.03 if dtype is bfloat16 else 0.004)


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "arrays"])
@pytest.mark.parametrize("name", ["SGD", "AdamW", "Adagrad"])
def test_large_strided_and_empty_parameters(name: str, kernels: bool) -> None:
    with config.override(DISTRIB_KERNELS=kernels):
        problem = Problem([(150, 140), (3, 4), (0, 2), (2, 3, 40, 50), (7,)])
        options = {"lr": 0.05, "momentum": 0.9} if name == "SGD" else {"lr": 0.05}
        for our, order in zip(problem.ours, ["C", "F", "C", None, "gaps"], strict=True):
            if order == "F":
                our.data = wrap(np.asfortranarray(our._a))
            elif order is None:  # channels last
                our.data = wrap(our._a.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2))
            elif order == "gaps":
                wide = np.zeros((7, 3), np.float32)
                wide[:, 1] = our._a
                our.data = wrap(wide[:, 1])
        ours, theirs = pair(problem, name, options)
        for i in range(6):
            problem.gradients(frozenset([1]) if i == 2 else frozenset())
            ours.step()
            theirs.step()
            problem.same()
        same_state(ours, theirs, 2e-5)


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "Rprop", "ASGD", "Adafactor"])
def test_state_of_pytorch_is_taken_over(name: str) -> None:
    """Ten steps there, the state loaded here (and back there), ten more on both sides."""
    problem = Problem()
    options = {"lr": 0.05, "momentum": 0.9} if name == "SGD" else {"lr": 0.05}
    _, theirs = pair(problem, name, options)
    for _ in range(10):
        problem.gradients()
        theirs.step()
    for our, their in zip(problem.ours, problem.theirs, strict=True):
        our.data = wrap(their.detach().numpy().copy())
    state = theirs.state_dict()
    state["state"] = {
        i: {k: wrap(v.numpy().copy()) for k, v in entry.items()}
        for i, entry in state["state"].items()
    }
    ours = getattr(optim, name)(problem.ours, lr=0.7)
    ours.load_state_dict(state)
    assert ours.param_groups[0]["lr"] == 0.05
    for _ in range(5):
        problem.gradients()
        ours.step()
        theirs.step()
        problem.same()
    same_state(ours, theirs, 2e-5)


def test_groups_idle_parameters_and_changed_options() -> None:
    problem = Problem()
    made = []
    for module, params in ((optim, problem.ours), (reference.optim, problem.theirs)):
        groups = [{"params": params[:2]}, {"params": params[2:], "lr": 0.02, "weight_decay": 0.1}]
        made.append(module.AdamW(groups, lr=0.05))
    for i in range(12):
        problem.gradients(frozenset([i % 4]) if i < 6 else frozenset())
        for optimizer in made:
            if i == 8:
                optimizer.param_groups[0]["lr"] = 0.3
                optimizer.param_groups[1]["betas"] = (0.5, 0.6)
            optimizer.step()
        problem.same()
    same_state(*made, 2e-5)


@pytest.mark.parametrize("options", [{}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw"}])
def test_muon(options: dict[str, Any]) -> None:
    problem = Problem([(4, 3), (3, 8)])
    ours, theirs = pair(problem, "Muon", {"lr": 0.02, **options})
    for _ in range(10):
        problem.gradients()
        ours.step()
        theirs.step()
        problem.same(3e-3)  # the iteration runs in bfloat16


@pytest.mark.parametrize(
    "options", [{}, {"lr": 0.1, "history_size": 3}, {"line_search_fn": "strong_wolfe"}]
)
@pytest.mark.parametrize("rosenbrock", [False, True])
def test_lbfgs(options: dict[str, Any], rosenbrock: bool) -> None:
    problem = Problem([(4, 3), (5,)], np.float64)
    ours, theirs = pair(problem, "LBFGS", {"max_iter": 6, **options})

    def evaluate(arrays: list[Any]) -> tuple[float, list[Any]]:
        if rosenbrock:
            x = np.concatenate([a.ravel() for a in arrays])
            d = x[1:] - x[:-1] ** 2
            g = np.zeros_like(x)
            g[:-1] = -40 * d * x[:-1] - 2 * (1 - x[:-1])
            g[1:] += 20 * d
            return float((10 * d**2 + (1 - x[:-1]) ** 2).sum()), [
                g[:12].reshape(4, 3), g[12:],
            ]  # fmt: skip
        rows = list(zip(arrays, problem.goals, problem.scales, strict=True))
        loss = sum(float((((a - b) * s) ** 2).sum()) for a, b, s in rows)
        return loss, [2 * (a - b) * s**2 for a, b, s in rows]

    def mine() -> float:
        loss, grads = evaluate([p._a for p in problem.ours])
        for p, g in zip(problem.ours, grads, strict=True):
            p.grad = wrap(g)
        return loss

    def others() -> float:
        loss, grads = evaluate([p.detach().numpy() for p in problem.theirs])
        for p, g in zip(problem.theirs, grads, strict=True):
            p.grad = reference.from_numpy(g)
        return loss

    for _ in range(4):
        assert ours.step(mine) == pytest.approx(theirs.step(others), rel=1e-6)
        problem.same(1e-6)
    got, want = ours.state_dict()["state"][0], theirs.state_dict()["state"][0]
    assert set(got) == set(want)
    assert (got["n_iter"], got["func_evals"]) == (want["n_iter"], want["func_evals"])
