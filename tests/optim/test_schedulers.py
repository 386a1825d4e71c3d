"""Schedulers against the real PyTorch: thirty rates, resumed states, wrong arguments."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from distrib import optim
from distrib.optim import lr_scheduler, swa_utils
from distrib.tensor import wrap

reference = pytest.importorskip("torch")
OURS, THEIRS = (lr_scheduler, swa_utils), (
    reference.optim.lr_scheduler, reference.optim.swa_utils,
)  # fmt: skip
Build = Callable[[Any, Any, Any], Any]


def decay(epoch: int) -> float:
    return float(0.95**epoch)


def factor(epoch: int) -> float:
    return 0.9 if epoch % 3 else 1.05


PLAIN: list[tuple[str, dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": decay}),
    ("LambdaLR", {"lr_lambda": [decay, factor]}),
    ("MultiplicativeLR", {"lr_lambda": factor}),
    ("StepLR", {"step_size": 4}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [3, 9, 9, 20]}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 7}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.7, "total_iters": 12}),
    ("ExponentialLR", {"gamma": 0.9}),
    ("CosineAnnealingLR", {"T_max": 10}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.001}),
    ("PolynomialLR", {"total_iters": 20, "power": 2.0}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4}),
    (
        "CyclicLR",
        {
            "base_lr": 0.01,
            "max_lr": 0.1,
            "step_size_up": 3,
            "step_size_down": 5,
            "mode": "triangular2",
        },
    ),
    (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 3, "mode": "exp_range", "gamma": 0.97},
    ),
    ("CyclicLR", {"base_lr": [0.01, 0.02], "max_lr": [0.1, 0.2], "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.2, "total_steps": 32}),
    (
        "OneCycleLR",
        {"max_lr": [0.2, 0.1], "epochs": 4, "steps_per_epoch": 8, "anneal_strategy": "linear"},
    ),
    (
        "OneCycleLR",
        {"max_lr": 0.2, "total_steps": 32, "three_phase": True, "cycle_momentum": False},
    ),
    ("ReduceLROnPlateau", {"factor": 0.5, "patience": 1, "cooldown": 2, "min_lr": 0.001}),
    ("ReduceLROnPlateau", {"mode": "max", "factor": 0.3, "patience": 2, "threshold_mode": "abs"}),
    ("SWALR", {"swa_lr": 0.3, "anneal_epochs": 6}),
    ("SWALR", {"swa_lr": 0.3, "anneal_epochs": 0, "anneal_strategy": "linear"}),
]


def plain(name: str, options: dict[str, Any]) -> Build:
    return lambda s, swa, o: getattr(swa if name == "SWALR" else s, name)(o, **options)


def sequence(s: Any, swa: Any, o: Any) -> Any:
    parts = [s.LinearLR(o, 0.1, total_iters=4), s.CosineAnnealingLR(o, 10), s.StepLR(o, 3)]
    return s.SequentialLR(o, parts, milestones=[6, 15])


def chain(s: Any, swa: Any, o: Any) -> Any:
    return s.ChainedScheduler([s.ConstantLR(o, 0.1, 4), s.ExponentialLR(o, 0.9)])


BUILDS = [(f"{n}-{i}", plain(n, kw)) for i, (n, kw) in enumerate(PLAIN)]
BUILDS += [("SequentialLR", sequence), ("ChainedScheduler", chain)]


def make(module: Any, build: Build, schedulers: Any, **options: Any) -> tuple[Any, Any]:
    params = [module_tensor(module) for _ in range(2)]
    groups = [{"params": params[:1]}, {"params": params[1:], "lr": 0.2}]
    optimizer = module.SGD(groups, **{"lr": 0.05, "momentum": 0.9, **options})
    return optimizer, build(*schedulers, optimizer)


def module_tensor(module: Any) -> Any:
    if module is optim:
        return wrap(np.zeros(2, np.float32)).requires_grad_()
    return reference.zeros(2, requires_grad=True)


def advance(optimizer: Any, scheduler: Any, step: int) -> None:
    optimizer.step()
    if "Plateau" in type(scheduler).__name__:
        scheduler.step([1.0, 0.8, 0.7, 0.69, 0.6][step] if step < 5 else 0.6 - 0.0001 * step)
    else:
        scheduler.step()


def rates(optimizer: Any, scheduler: Any) -> list[float]:
    groups = optimizer.param_groups
    return [*scheduler.get_last_lr(), *(g[k] for g in groups for k in ("lr", "momentum"))]


@pytest.mark.parametrize("build", [b for _, b in BUILDS], ids=[n for n, _ in BUILDS])
def test_thirty_rates_and_resuming(build: Build) -> None:
    theirs, ours = make(reference.optim, build, THEIRS), make(optim, build, OURS)
    resumed = None
    for step in range(30):
        assert rates(*ours) == pytest.approx(rates(*theirs), rel=1e-12, abs=0)
        if resumed is not None:
            assert rates(*resumed) == rates(*ours)
        if step == 10:
            want = {k for k in theirs[1].state_dict() if k != "_scale_fn_ref"}
            assert want == set(ours[1].state_dict())
            resumed = make(optim, build, OURS)
            resumed[0].load_state_dict(ours[0].state_dict())
            resumed[1].load_state_dict(ours[1].state_dict())
        for pair in (theirs, ours, *([resumed] if resumed else [])):
            advance(*pair, step)


def test_state_of_pytorch_is_taken_over() -> None:
    build = plain("CosineAnnealingLR", {"T_max": 10})
    theirs, ours = make(reference.optim, build, THEIRS), make(optim, build, OURS)
    for step in range(5):
        advance(*theirs, step)
    ours[0].load_state_dict(theirs[0].state_dict())
    ours[1].load_state_dict(theirs[1].state_dict())
    ours[0].step()
    for step in range(5, 10):
        advance(*theirs, step)
        advance(*ours, step)
        assert rates(*ours) == rates(*theirs)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize(
    "case",
    [c for c in PLAIN if c[0] not in ("ReduceLROnPlateau", "SWALR", "CyclicLR", "OneCycleLR")],
)
def test_a_given_epoch_uses_the_closed_form(case: tuple[str, dict[str, Any]]) -> None:
    build = plain(*case)
    theirs, ours = make(reference.optim, build, THEIRS), make(optim, build, OURS)
    for epoch in (7, 3, 11):
        for optimizer, scheduler in (theirs, ours):
            optimizer.step()
            scheduler.step(epoch)
        assert rates(*ours) == pytest.approx(rates(*theirs), rel=1e-12)


@pytest.mark.parametrize("name", ["StepLR", "CosineAnnealingLR", "ExponentialLR", "LinearLR"])
def test_resuming_with_last_epoch(name: str) -> None:
    options = {"StepLR": {"step_size": 3}, "CosineAnnealingLR": {"T_max": 9}}.get(name, {})
    options = {"gamma": 0.9} if name == "ExponentialLR" else options
    found = []
    for module, schedulers in ((optim, OURS), (reference.optim, THEIRS)):
        groups = [{"params": [module_tensor(module)], "lr": 0.03, "initial_lr": 0.1}]
        optimizer = module.SGD(groups)
        scheduler = getattr(schedulers[0], name)(optimizer, last_epoch=4, **options)
        found.append([scheduler.get_last_lr()[0]])
        for _ in range(8):
            optimizer.step()
            scheduler.step()
            found[-1].append(scheduler.get_last_lr()[0])
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_order_of_steps_is_checked_once() -> None:
    optimizer, scheduler = make(optim, plain("StepLR", {"step_size": 2}), OURS)
    with pytest.warns(UserWarning, match="Detected call of `lr_scheduler.step\\(\\)` before"):
        scheduler.step()
    scheduler.step()
    optimizer, scheduler = make(optim, plain("StepLR", {"step_size": 2}), OURS)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="has been overridden after"):
        scheduler.step()
    with pytest.warns(UserWarning, match="please use `get_last_lr"):
        scheduler.get_lr()
    with pytest.warns(UserWarning, match="epoch parameter"):
        scheduler.step(3)


WRONG: list[Build] = [
    lambda s, w, o: s.StepLR(3, 2),
    lambda s, w, o: s.StepLR(o, 2, last_epoch=3),
    lambda s, w, o: s.LambdaLR(o, [decay]),
    lambda s, w, o: s.MultiplicativeLR(o, [decay]),
    lambda s, w, o: s.ConstantLR(o, 2),
    lambda s, w, o: s.LinearLR(o, 0),
    lambda s, w, o: s.LinearLR(o, 0.5, 2),
    lambda s, w, o: s.CosineAnnealingWarmRestarts(o, 0),
    lambda s, w, o: s.CosineAnnealingWarmRestarts(o, 1, 0),
    lambda s, w, o: s.CosineAnnealingWarmRestarts(o, 1, 1, "a"),
    lambda s, w, o: s.CosineAnnealingWarmRestarts(o, 5).step(-1),
    lambda s, w, o: s.CyclicLR(o, 0.1, 0.2, mode="x"),
    lambda s, w, o: s.CyclicLR(o, [0.1], 0.2),
    lambda s, w, o: s.OneCycleLR(o, 0.1),
    lambda s, w, o: s.OneCycleLR(o, 0.1, total_steps=-1),
    lambda s, w, o: s.OneCycleLR(o, 0.1, total_steps=1.5),
    lambda s, w, o: s.OneCycleLR(o, 0.1, epochs=0, steps_per_epoch=1),
    lambda s, w, o: s.OneCycleLR(o, 0.1, 5, pct_start=2),
    lambda s, w, o: s.OneCycleLR(o, 0.1, 5, anneal_strategy="x"),
    lambda s, w, o: s.ReduceLROnPlateau(o, factor=1.0),
    lambda s, w, o: s.ReduceLROnPlateau(o, mode="x"),
    lambda s, w, o: s.ReduceLROnPlateau(o, threshold_mode="x"),
    lambda s, w, o: s.ReduceLROnPlateau(o, min_lr=[1, 2, 3]),
    lambda s, w, o: s.ReduceLROnPlateau(o).step(None),
    lambda s, w, o: s.SequentialLR(o, [], []),
    lambda s, w, o: s.SequentialLR(o, [s.ConstantLR(o)], [1]),
    lambda s, w, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o), s.ConstantLR(o)], [1]),
    lambda s, w, o: s.SequentialLR(o, [3, s.ConstantLR(o)], [1]),
    lambda s, w, o: s.ChainedScheduler([]),
    lambda s, w, o: s.ChainedScheduler([s.ReduceLROnPlateau(o)]),
    lambda s, w, o: s.LRScheduler(o),
    lambda s, w, o: w.SWALR(o, 0.1, anneal_strategy="x"),
    lambda s, w, o: w.SWALR(o, 0.1, anneal_epochs=-1),
    lambda s, w, o: w.get_ema_avg_fn(2.0),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_wrong_arguments_raise_what_pytorch_raises(number: int) -> None:
    def outcome(module: Any, schedulers: Any) -> BaseException:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Exception) as caught:
                make(module, WRONG[number], schedulers)
        return caught.value

    want, got = outcome(reference.optim, THEIRS), outcome(optim, OURS)
    assert type(got) is type(want)
    assert str(got) == str(want)


def test_too_many_steps_of_one_cycle() -> None:
    optimizer, scheduler = make(optim, plain("OneCycleLR", {"max_lr": 0.1, "total_steps": 3}), OURS)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        scheduler.step()
