"""Random tensors and dropout: PyTorch's numbers on the CPU for the same seed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import dtypes
from ..devices import ndarray
from ..errors import ShapeError
from ..random import Generator, choose, fill, sampling
from ..tensor import Tensor, W, wrap
from .creation import empty_like, finish, sizes
from .native import fast, fits, has
from .registry import method, operator, publish
from .shape import _a

xp: Any = None  # bound per array type
masked_scale_generic: Any = None


# ---- new tensors -----------------------------------------------------------------------------------
def _floating(dtype: Any, name: str) -> Any:
    raw = dtypes.default_raw() if dtype is None else dtypes.raw_of(dtype)
    if raw.kind in "biu":
        raise NotImplementedError(f"\"{name}\" not implemented for '{fill.SCALAR_NAMES[raw.name]}'")
    return raw


def rand(*size: Any, generator: Generator | None = None, out: Any = None, dtype: Any = None, layout: Any = None,
         device: Any = None, requires_grad: bool = False, pin_memory: bool = False, names: Any = None) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1)."""
    a = np.empty(
        sizes(size), _floating(dtype, "check_uniform_bounds") if out is None else out._a.dtype
    )
    fill.uniform(a, 0.0, 1.0, choose(generator))
    return finish(a, device, requires_grad, out)


def randn(*size: Any, generator: Generator | None = None, out: Any = None, dtype: Any = None, layout: Any = None,
          device: Any = None, requires_grad: bool = False, pin_memory: bool = False, names: Any = None) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and variance 1."""
    a = np.empty(
        sizes(size), _floating(dtype, "normal_kernel_cpu") if out is None else out._a.dtype
    )
    fill.normal(a, 0.0, 1.0, choose(generator))
    return finish(a, device, requires_grad, out)


def randint(*args: Any, generator: Generator | None = None, out: Any = None, dtype: Any = None, layout: Any = None,
            device: Any = None, requires_grad: bool = False, low: Any = None, high: Any = None, size: Any = None,
            pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`."""
    rest = list(args)
    if size is None:
        if not rest or isinstance(rest[-1], int):
            raise TypeError(
                f"randint(): argument 'size' must be tuple of ints, got {rest[-1:] or 'nothing'}"
            )
        size = rest.pop()
    if high is None:
        high = rest.pop()
    low = rest.pop() if rest else (0 if low is None else low)
    if int(low) >= int(high):
        raise RuntimeError(
            f"random_ expects 'from' to be less than 'to', but got from={int(low)} >= to={int(high)}"
        )
    a = np.empty(sizes((tuple(size),)), dtypes.I8 if dtype is None else dtypes.raw_of(dtype))
    fill.random(a, int(low), int(high), choose(generator))
    return finish(a, device, requires_grad, out)


def randperm(n: int, *, generator: Generator | None = None, out: Any = None, dtype: Any = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """The integers 0 .. n-1 in random order."""
    raw = dtypes.I8 if dtype is None else dtypes.raw_of(dtype)
    return finish(sampling.permutation(int(n), raw, choose(generator)), device, requires_grad, out)


def _like(
    input: Tensor, dtype: Any, device: Any, requires_grad: bool, memory_format: Any, draw: Any
) -> Tensor:
    t = empty_like(input, dtype=dtype, memory_format=memory_format)
    if type(t._a) is not ndarray:
        return t.requires_grad_() if requires_grad else t
    draw(t._a)
    return finish(t._a, device if device is not None else input.device, requires_grad)


def rand_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
              requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Uniform numbers in the shape of a tensor."""
    return _like(
        input,
        dtype,
        device,
        requires_grad,
        memory_format,
        lambda a: fill.uniform(a, 0.0, 1.0, choose(generator)),
    )


def randn_like(input: Tensor, *, generator: Generator | None = None, dtype: Any = None, layout: Any = None, device: Any = None,
               requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Normal numbers in the shape of a tensor."""
    return _like(
        input,
        dtype,
        device,
        requires_grad,
        memory_format,
        lambda a: fill.normal(a, 0.0, 1.0, choose(generator)),
    )


def randint_like(input: Tensor, *args: Any, low: Any = None, high: Any = None, generator: Generator | None = None, dtype: Any = None, layout: Any = None,
                 device: Any = None, requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Integers in [low, high) in the shape of a tensor."""
    rest = [*args]
    high = rest.pop() if high is None else high
    low = rest.pop() if rest else (0 if low is None else low)
    return _like(input, dtype, device, requires_grad, memory_format,
                 lambda a: fill.random(a, int(low), int(high), choose(generator)))  # fmt: skip


def normal(mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None, out: Any = None,
           dtype: Any = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:  # fmt: skip
    """Normal numbers of given means and standard deviations, each a number or a tensor."""
    if size is not None or not (isinstance(mean, Tensor) or isinstance(std, Tensor)):
        shape = () if size is None else sizes((tuple(size),))
        a = np.empty(shape, _floating(dtype, "normal_kernel_cpu") if out is None else out._a.dtype)
        fill.normal(a, float(mean), float(std), choose(generator))
        return finish(a, device, requires_grad, out)
    tensors = [x for x in (mean, std) if isinstance(x, Tensor)]
    for x in tensors:
        if x.is_complex() and x is std:
            raise RuntimeError("normal expects standard deviation to be non-complex")
    if isinstance(std, Tensor) and std.numel() and bool((std._a < 0).any()):
        raise RuntimeError("normal expects all elements of std >= 0.0")
    if not isinstance(std, Tensor) and std < 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std}")
    shape = np.broadcast_shapes(*(tuple(x._a.shape) for x in tensors))
    a = np.empty(shape, tensors[0]._a.dtype)
    fill.normal(a, 0.0, 1.0, choose(generator))
    scale, shift = (x._a if isinstance(x, Tensor) else x for x in (std, mean))
    a *= scale
    a += shift
    return finish(a, device, requires_grad, out)


def bernoulli(
    input: Tensor, p: Any = None, *, generator: Generator | None = None, out: Any = None
) -> Tensor:
    """1 with the probability that each element gives."""
    a = np.empty_like(input._a)
    if p is not None:
        fill.bernoulli(a, float(p), choose(generator))
    else:
        fill.bernoulli_each(a, input._a, choose(generator))
    made = finish(a, None, False, out)
    return made + input * 0 if out is None and input._n is not None else made


def multinomial(
    input: Tensor,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
    out: Any = None,
) -> Tensor:
    """Indices drawn with the weights of each row."""
    return finish(
        sampling.multinomial(input._a, int(num_samples), replacement, choose(generator)),
        None,
        False,
        out,
    )


method("bernoulli")(bernoulli)
method("multinomial")(multinomial)


# ---- fills in place --------------------------------------------------------------------------------
def _drawn(self: Tensor, draw: Any) -> Tensor:
    """Fill in place: the values are overwritten, so no gradient flows to what was there."""
    W["check_writable"](self)
    if type(self._a) is ndarray:
        draw(self._a)
    self._bump()
    if self._n is not None and not self.is_leaf:
        from .core import fill_

        drawn = self._a.copy()
        fill_(self, 0)
        self._a[...] = drawn
    return self


@method()
def uniform_(
    self: Tensor,
    from_: float = 0.0,
    to: float = 1.0,
    *,
    generator: Generator | None = None,
    **kw: Any,
) -> Tensor:
    """Fill with uniform numbers in [from, to)."""
    low = kw.pop("from", from_)
    if kw:
        raise TypeError(f"uniform_() got an unexpected keyword argument '{next(iter(kw))}'")
    return _drawn(self, lambda a: fill.uniform(a, float(low), float(to), choose(generator)))


@method()
def normal_(
    self: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with normal numbers."""
    return _drawn(self, lambda a: fill.normal(a, float(mean), float(std), choose(generator)))


@method()
def random_(self: Tensor, *args: Any, generator: Generator | None = None, **kw: Any) -> Tensor:
    """Fill with integers: all that the dtype holds, [0, to) or [from, to)."""
    low, high = (
        (kw.get("from"), kw.get("to"))
        if not args
        else (0, args[0])
        if len(args) == 1
        else (args[0], args[1])
    )
    return _drawn(self, lambda a: fill.random(a, low, high, choose(generator)))


@method()
def bernoulli_(self: Tensor, p: Any = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 0 and 1, 1 with probability p."""
    if isinstance(p, Tensor):
        return _drawn(self, lambda a: fill.bernoulli_each(a, p._a, choose(generator)))
    return _drawn(self, lambda a: fill.bernoulli(a, float(p), choose(generator)))


@method()
def exponential_(self: Tensor, lambd: float = 1.0, *, generator: Generator | None = None) -> Tensor:
    """Fill with exponentially distributed numbers."""
    return _drawn(self, lambda a: fill.exponential(a, float(lambd), choose(generator)))


@method()
def cauchy_(
    self: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with Cauchy-distributed numbers."""
    return _drawn(self, lambda a: fill.cauchy(a, float(median), float(sigma), choose(generator)))


@method()
def log_normal_(
    self: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers whose logarithm is normal."""
    return _drawn(self, lambda a: fill.log_normal(a, float(mean), float(std), choose(generator)))


@method()
def geometric_(self: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with geometrically distributed numbers."""
    return _drawn(self, lambda a: fill.geometric(a, float(p), choose(generator)))


# ---- dropout -------------------------------------------------------------------------------------------
def _masked_scale(x: Any, mask: Any, scale: float) -> Any:
    y = x * mask
    y *= xp.asarray(scale, x.dtype)
    return y


def _masked_scale_cpu(input: Any, mask: Any, *, scale: float) -> Any:
    if has("dropout") and fits(input) and mask.shape == input.shape:
        return fast.dropout(input, mask, scale)
    return masked_scale_generic(input, mask, scale=scale)


masked_scale: Any = operator(
    "masked_scale", lambda input, mask, *, scale: _masked_scale(input, mask, scale),
    (lambda g, mask, scale: masked_scale(g, mask, scale=scale), None), "math", cpu=_masked_scale_cpu,
    method=False, fixed=("mask",), grad_name="MulBackward0",
    samples=lambda: [((_a(2, 3), np.array([[True, False, True], [False, True, True]])), {"scale": 2.0})],
    ref=lambda x, mask, scale: np.where(mask, x * scale, 0.0),
)  # fmt: skip


def _check_p(p: float, name: str = "dropout") -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name} probability has to be between 0 and 1, but got {p}")


def dropout_scale(p: float, raw: Any) -> float:
    """What the elements that stay are multiplied with, rounded as PyTorch rounds it."""
    kind = raw if raw.kind == "f" else dtypes.F4
    return float(kind.type(1.0) / kind.type(1.0 - p))


def _drop(input: Tensor, p: float, shape: Any) -> Tensor:
    """Zero elements with probability p and scale the others; the mask is drawn in memory order."""
    if type(input._a) is not ndarray:
        made: Tensor = input.clone()
        return made
    if p == 1.0:
        zero: Tensor = input * 0.0
        return zero
    if shape is None:
        mask = np.empty_like(input._a, dtype="?")
    else:
        mask = np.empty(shape, "?")
    fill.bernoulli(mask, 1.0 - p, choose(None))
    y: Tensor = masked_scale(input, wrap(mask), scale=dropout_scale(p, input._a.dtype))
    return y


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """In training, zero each element with probability p and divide the others by 1 - p."""
    _check_p(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    y = _drop(input, p, None)
    return _into(input, y) if inplace else y


def _into(input: Tensor, y: Tensor) -> Tensor:
    from .registry import copy_into

    return copy_into(input, y)


def _channels(input: Tensor) -> tuple[int, ...]:
    if input._a.ndim < 2:
        raise ShapeError("Feature dropout requires at least 2 dimensions in the input")
    return (*input._a.shape[:2], *(1 for _ in input._a.shape[2:]))


def feature_dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In training, zero whole channels of [N, C, ...] with probability p."""
    _check_p(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    y = _drop(input, p, _channels(input))
    return _into(input, y) if inplace else y


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In training, zero whole channels of [N, C, L] or [C, L]."""
    _check_p(p)
    if input._a.ndim not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input._a.ndim}D input. Note that dropout1d exists to provide channel-wise dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch dimension (i.e. 2D or 3D inputs)."
        )
    x = input.unsqueeze(0) if input._a.ndim == 2 else input
    y = feature_dropout(x, p, training)
    y = y.squeeze(0) if input._a.ndim == 2 else y
    return _into(input, y) if inplace and y is not input else y


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In training, zero whole channels of [N, C, H, W]."""
    return feature_dropout(input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In training, zero whole channels of [N, C, D, H, W]."""
    y = feature_dropout(input.unsqueeze(0) if input._a.ndim == 4 else input, p, training)
    y = y.squeeze(0) if input._a.ndim == 4 and y._a.ndim == 5 else y
    return _into(input, y) if inplace and training else y


_ALPHA = 1.7580993408473766


def _alpha(input: Tensor, p: float, training: bool, shape: Any) -> Tensor:
    _check_p(p)
    if not training or p == 0.0 or input.numel() == 0:
        return input
    if p == 1.0:
        zero: Tensor = input * 0.0
        return zero
    noise = np.empty(shape, input._a.dtype)
    fill.bernoulli(noise, 1.0 - p, choose(None))
    a = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    b = wrap(((noise - 1) * (_ALPHA * a) + _ALPHA * a * p).astype(noise.dtype))
    y: Tensor = input * wrap((noise * a).astype(noise.dtype)) + b
    return y


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean and variance of self-normalising networks."""
    y = _alpha(input, p, training, input._a.shape)
    return _into(input, y) if inplace and y is not input else y


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """alpha_dropout of whole channels."""
    y = _alpha(input, p, training, _channels(input) if training and p not in (0.0,) else ())
    return _into(input, y) if inplace and y is not input else y


__all__ = [
    "alpha_dropout", "bernoulli", "dropout", "feature_alpha_dropout", "feature_dropout", "multinomial", "normal",
    "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
]  # fmt: skip
NN = ["alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"]
publish(globals())
