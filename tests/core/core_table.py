"""Cases that are functions of the module: run under distrib and under the reference, and compared."""

import warnings

import numpy as np
import pytest

import distrib


class Cases(dict):
    """A table of functions of the module, filled by decoration."""

    def __call__(self, f):
        assert f.__name__ not in self, f"two cases are called {f.__name__}"
        self[f.__name__] = f
        return f

    def parametrize(self):
        return pytest.mark.parametrize("case", self.values(), ids=self.keys())


def leaf(m, *shape, seed=0, dtype="f4"):
    """A leaf of values between 0.5 and 2: the same in both libraries."""
    a = np.random.default_rng(seed).uniform(0.5, 2, shape).astype(dtype)
    return m.tensor(a, requires_grad=True)


def flat(value):
    """Everything that a case returned, as a list of comparable things."""
    if isinstance(value, dict):
        return [x for k in value for x in (k, *flat(value[k]))]
    if isinstance(value, (tuple, list)) and not hasattr(value, "numel"):
        return [len(value), *(x for v in value for x in flat(v))]
    if hasattr(value, "detach"):
        kind = str(value.dtype)
        value = value.detach()
        if kind == "torch.bfloat16":
            value = value.float()
        return [
            kind,
            value.resolve_conj().numpy() if hasattr(value, "resolve_conj") else value.numpy(),
        ]
    if hasattr(value, "numel"):
        return [list(value)]
    if type(value).__name__ in ("dtype", "device", "memory_format", "layout"):
        return [str(value)]
    return [value]


def outcome(case, m):
    """What a case gives under a module: ('value', parts) or ('error', exception)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return "value", flat(case(m))
        except (
            RuntimeError,
            ValueError,
            TypeError,
            IndexError,
            AttributeError,
            KeyError,
            BufferError,
        ) as e:
            return "error", e


def equal(a, b, rtol, atol):
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and a.shape == b.shape
            and a.dtype == b.dtype
            and np.allclose(a, b, rtol, atol, equal_nan=True)
        )
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol, atol, equal_nan=True))
    return type(a) is type(b) and a == b


def compare(case, torch, rtol=2e-5, atol=1e-5):
    """Values, dtypes, shapes and whether it raises agree with the reference."""
    ours, theirs = outcome(case, distrib), outcome(case, torch)
    if theirs[0] == "error":
        kind = next(c for c in type(theirs[1]).__mro__ if c.__module__ == "builtins")
        assert ours[0] == "error", f"the reference raises {theirs[1]!r}, we give {ours[1]}"
        assert isinstance(ours[1], kind), f"{ours[1]!r} is no {kind.__name__}: {theirs[1]}"
        return
    if ours[0] == "error":
        raise ours[1]
    assert len(ours[1]) == len(theirs[1]), f"ours {ours[1]}\ntheirs {theirs[1]}"
    for i, (a, b) in enumerate(zip(ours[1], theirs[1])):
        assert equal(a, b, rtol, atol), f"part {i}: ours {a}\ntheirs {b}"
