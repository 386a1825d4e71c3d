"""Whole modules, parameters and optimizers in files: PyTorch's names, both ways."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest

import distrib
from distrib import nn, optim, serialization
from distrib.serialization import names

reference = pytest.importorskip("torch")
BUILDS = {
    "mlp": lambda n: n.Sequential(n.Linear(4, 6), n.BatchNorm1d(6), n.GELU(), n.Linear(6, 4)),
    "conv": lambda n: n.Sequential(
        n.Unflatten(1, (1, 2, 2)), n.Conv2d(1, 3, 2, padding=1), n.ReLU(), n.MaxPool2d(2),
        n.Flatten(),
    ),
    "encoder": lambda n: n.TransformerEncoderLayer(4, 2, 8, batch_first=True),
    "attention": lambda n: n.TransformerEncoder(
        n.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, enable_nested_tensor=False
    ),
    "gru": lambda n: n.GRU(4, 3, batch_first=True),
    "cell": lambda n: n.LSTMCell(4, 3),
    "lists": lambda n: n.ModuleDict({"a": n.ModuleList([n.Linear(4, 4, bias=False)])}),
    "parameters": lambda n: n.ParameterList([n.Linear(2, 2).weight]),
}  # fmt: skip


def file_of(obj: Any, save: Any) -> io.BytesIO:
    file = io.BytesIO()
    save(obj, file)
    file.seek(0)
    return file


def output(module: Any, tensor: Any) -> Any:
    x = tensor(np.random.RandomState(0).randn(5, 4).astype(np.float32).tolist())
    y = module(x)
    while isinstance(y, tuple):
        y = y[0]
    return np.asarray(y.detach())


@pytest.mark.parametrize("name", BUILDS)
def test_whole_modules(name: str) -> None:
    ours, theirs = BUILDS[name](nn).eval(), BUILDS[name](reference.nn).eval()
    here = serialization.load(file_of(theirs, reference.save), weights_only=False)
    there = reference.load(file_of(ours, serialization.save), weights_only=False)
    assert type(here) is type(ours)
    assert type(there) is type(theirs)
    assert repr(here) == repr(theirs)
    assert repr(there) == repr(ours)
    for mine, other in ((here, theirs), (ours, there)):
        assert list(mine.state_dict()) == list(other.state_dict())
        for key, value in mine.state_dict().items():
            np.testing.assert_array_equal(np.asarray(value), other.state_dict()[key].numpy())
        if name not in ("lists", "parameters"):
            np.testing.assert_allclose(
                output(mine, distrib.tensor), output(other, reference.tensor), rtol=1e-4, atol=1e-5
            )
    again = serialization.load(file_of(ours, serialization.save), weights_only=False)
    again.train()
    assert list(again.state_dict()) == list(ours.state_dict())
    there.train()
    there.register_forward_hook(lambda *a: None)


def test_every_class_is_written_under_pytorchs_name() -> None:
    wrong = []
    for name in reference.nn.modules.__all__:
        ours, theirs = getattr(nn, name, None), getattr(reference.nn, name)
        if ours is None:
            continue
        if names.written(ours) != (theirs.__module__, theirs.__qualname__):
            wrong.append((name, names.written(ours)))
        if names.read(theirs.__module__, theirs.__qualname__) is not ours:
            wrong.append((name, "reading"))
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "LBFGS", "SparseAdam"):
        ours, theirs = getattr(optim, name), getattr(reference.optim, name)
        if names.written(ours) != (theirs.__module__, theirs.__qualname__):
            wrong.append((name, names.written(ours)))
    for name in optim.lr_scheduler.__all__:
        if names.written(getattr(optim.lr_scheduler, name)) != ("torch.optim.lr_scheduler", name):
            wrong.append((name, ""))
    for name in ("relu", "gelu", "softmax"):
        if names.written(getattr(nn.functional, name)) != ("torch.nn.functional", name):
            wrong.append((name, names.written(getattr(nn.functional, name))))
    assert wrong == []


def test_parameters() -> None:
    p = nn.Parameter(distrib.tensor([1.0, 2.0]))
    q = nn.Parameter(distrib.tensor([3.0]), requires_grad=False)
    p.tag = "x"
    there = reference.load(file_of({"p": p, "q": q, "again": p}, serialization.save))
    assert isinstance(there["p"], reference.nn.Parameter)
    assert there["p"] is there["again"]
    assert (there["p"].tag, there["p"].requires_grad, there["q"].requires_grad) == (
        "x",
        True,
        False,
    )
    here = serialization.load(file_of(there, reference.save))
    assert type(here["p"]) is nn.Parameter
    assert here["p"] is here["again"]
    assert (here["p"].tag, here["p"].tolist(), here["q"].requires_grad) == ("x", [1.0, 2.0], False)


def test_attributes_and_subclasses() -> None:
    t = distrib.tensor([1.0])
    t.note = {"a": 1}
    there = reference.load(file_of(t, serialization.save))
    assert there.note == {"a": 1}
    here = serialization.load(file_of(there, reference.save))
    assert here.note == {"a": 1}
    mine = Mine([1.0])
    file = file_of(mine, serialization.save)
    with pytest.raises(pickle.UnpicklingError, match=r"add_safe_globals\(\[.*Mine\]"):
        serialization.load(file)
    file.seek(0)
    with serialization.safe_globals([Mine]):
        assert type(serialization.load(file)) is Mine


class Mine(distrib.Tensor):
    pass


def test_modules_that_the_user_allows() -> None:
    file = file_of(reference.nn.Linear(2, 3), reference.save)
    with pytest.raises(
        pickle.UnpicklingError, match=r"GLOBAL torch\.nn\.modules\.linear\.Linear was"
    ):
        serialization.load(file)
    file.seek(0)
    with serialization.safe_globals([nn.Linear]):
        assert isinstance(serialization.load(file), nn.Linear)
    file.seek(0)
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        serialization.load(file, pickle_module=pickle, weights_only=True)
    assert isinstance(serialization.load(file, pickle_module=pickle), nn.Linear)


def test_names_that_do_not_exist_here() -> None:
    data = pickle.dumps(1, 2)[:-2] + b"ctorch.nn.modules.linear\nNoSuchLayer\n."
    file = file_of({"x": 1}, serialization.save)
    raw = file.getvalue()
    assert b"data.pkl" in raw
    with pytest.raises(AttributeError, match="has nothing of that name"):
        names.read("torch.nn.modules.linear", "NoSuchLayer")
    with pytest.raises(AttributeError, match="has nothing of that name"):
        names.read("torch.no_such_room", "x")
    assert data


def test_whole_optimizers_and_schedulers() -> None:
    model = reference.nn.Linear(2, 2)
    optimizer = reference.optim.AdamW(model.parameters(), lr=0.1)
    model(reference.ones(1, 2)).sum().backward()
    optimizer.step()
    scheduler = reference.optim.lr_scheduler.StepLR(optimizer, 2)
    saved = file_of({"m": model, "o": optimizer, "s": scheduler.state_dict()}, reference.save)
    back = serialization.load(saved, weights_only=False)
    assert type(back["o"]) is optim.AdamW
    assert back["o"].param_groups[0]["params"][0] is back["m"].weight
    for module, opt, tensors in ((back["m"], back["o"], distrib), (model, optimizer, reference)):
        opt.zero_grad()
        module(tensors.ones(1, 2)).sum().backward()
        opt.step()
    np.testing.assert_allclose(
        np.asarray(back["m"].weight.detach()), model.weight.detach().numpy(), rtol=1e-6
    )
