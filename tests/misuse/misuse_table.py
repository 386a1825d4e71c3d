"""Tables of misuse: what is done wrong, the exception that PyTorch raises for it, what must be said."""

import importlib
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import distrib


class Case(NamedTuple):
    """One mistake: a function of the module called torch, and what must come of it."""

    name: str
    call: Callable[[Any], Any]
    kind: Any  # an exception type, or several
    said: tuple[str, ...]
    ours: bool

    def raised_by(self, torch):
        """The exception of the mistake."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = self.call(torch)
            except Exception as error:
                return error
        pytest.fail(f"{torch.__name__} raised nothing and returned {result!r}")


class Table:
    """The cases of one area, and the two tests of each."""

    def __init__(self):
        self.cases = []

    def expr(self, name, kind, call, *said, ours=False):
        """A case of one expression; ours: nothing to compare with in PyTorch on a CPU."""
        assert name not in {c.name for c in self.cases}, f"two cases are called {name}"
        assert said, f"{name}: say what the message must contain"
        self.cases.append(Case(name, call, kind, said, ours))

    def case(self, kind, *said, ours=False):
        """The same for a function: its name is the case's."""

        def add(call):
            self.expr(call.__name__.replace("_", " ").strip(), kind, call, *said, ours=ours)
            return call

        return add

    def parametrize(self, *, reference=False):
        """pytest's decorator over the cases, or over those that PyTorch can be asked about."""
        cases = [c for c in self.cases if not (reference and c.ours)]
        return pytest.mark.parametrize("case", cases, ids=[c.name for c in cases])


def builtin_base(kind):
    """The nearest base class that Python itself has."""
    return next(k for k in kind.__mro__ if k.__module__ == "builtins")


def check(case):
    """The documented exception, and a message with what was got and what was expected."""
    error = case.raised_by(distrib)
    text = str(error)
    assert isinstance(error, case.kind), f"{type(error).__name__} instead: {text}"
    for part in case.said:
        assert part in text, f"{part!r} is not in the message: {text}"


def compare(case):
    """PyTorch raises the same exception type, or a base of ours; its own types by their names."""
    torch = importlib.import_module("torch")
    theirs, ours = case.raised_by(torch), case.raised_by(distrib)
    kind = type(theirs)
    same = isinstance(ours, kind)
    if kind.__module__.startswith("torch"):
        name = kind.__name__.removeprefix("_")
        same = type(ours).__name__ == name and isinstance(ours, builtin_base(kind))
    assert same, f"{type(ours).__name__}: {ours}\nPyTorch: {type(theirs).__name__}: {theirs}"
