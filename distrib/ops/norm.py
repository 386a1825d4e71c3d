"""Normalisation: batch, layer, group, instance, root-mean-square, local response."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor, wrap
from .native import fast, fits, has
from .registry import composite, publish
from .shape import _a

xp: Any = None  # bound per array type
batch_norm_train_generic: Any = None  # the NumPy forms, bound beside the compiled ones
batch_norm_eval_generic: Any = None
native_layer_norm_generic: Any = None


def _across(v: Any, ndim: int) -> Any:
    """A vector of channels in the shape that broadcasts over [N, C, ...]."""
    return v.reshape((1, -1) + (1,) * (ndim - 2))


# ---- batch norm with the statistics of the batch ----------------------------------------------------
def _bn_train(x: Any, w: Any, b: Any, eps: float) -> Any:
    dims = (0, *range(2, x.ndim))
    n = x.size // x.shape[1]
    mean = xp.add.reduce(x, dims, keepdims=True) / n
    d = x - mean
    rstd = 1 / xp.sqrt(xp.add.reduce(d * d, dims, keepdims=True) / n + eps)
    d *= rstd
    if w is not None:
        d *= _across(w, x.ndim)
    if b is not None:
        d += _across(b, x.ndim)
    return d, mean.reshape(-1), rstd.reshape(-1)


def _bn_train_cpu(input: Any, weight: Any = None, bias: Any = None, *, eps: float) -> Any:
    if fits(input, weight, bias):
        return fast.batch_norm(input, weight, bias, None, None, 0.0, eps, False)
    return batch_norm_train_generic(input, weight, bias, eps=eps)


def bn_formula(input: Any, weight: Any = None, bias: Any = None, *, eps: float) -> Any:
    """Batch norm in differentiable operators."""
    dims = (0, *range(2, input._a.ndim))
    d = input - input.mean(dims, keepdim=True)
    y = d * ((d * d).mean(dims, keepdim=True) + eps).rsqrt()
    shape = (1, -1) + (1,) * (input._a.ndim - 2)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _bn_backward(g: Any, input: Any, weight: Any, mean: Any, rstd: Any, want: Any) -> Any:
    if type(g) is np.ndarray and fits(g, input, weight, mean):
        gx, gw, gb = fast.batch_norm_grad(g, input, None, weight, mean, rstd)
        return gx, gw if want[1] else None, gb if want[2] else None
    dims, n = (0, *range(2, g.ndim)), g.size // g.shape[1]
    h = (input - _across(mean, g.ndim)) * _across(rstd, g.ndim)
    gb = xp.add.reduce(g, dims)
    gw = xp.add.reduce(g * h, dims)
    scale = rstd if weight is None else rstd * weight
    gx = (g - _across(gb / n, g.ndim) - h * _across(gw / n, g.ndim)) * _across(scale, g.ndim)
    return gx, gw if want[1] else None, gb if want[2] else None


def _bn_ref(x: Any, w: Any = 1.0, b: Any = 0.0, *, eps: float) -> Any:
    s = (1, -1) + (1,) * (x.ndim - 2)
    dims = (0, *range(2, x.ndim))
    y = (x - x.mean(dims, keepdims=True)) / np.sqrt(x.var(dims, keepdims=True) + eps)
    return y * np.reshape(w, s) + np.reshape(b, s)


batch_norm_train = composite(
    "batch_norm_train", bn_formula,
    lambda input, weight=None, bias=None, *, eps: _bn_train(input, weight, bias, eps),
    lambda g, input, weight, mean, rstd, want: _bn_backward(g, input, weight, mean, rstd, want),
    cpu=_bn_train_cpu, rule="math", outputs=("output", "mean", "rstd"), diff=(True, False, False), method=False,
    grad_name="NativeBatchNormBackward0", onnx="BatchNormalization",
    samples=lambda: [((_a(3, 2, 4), _a(2), _a(2) + 1), {"eps": 1e-5})],
    ref=lambda x, w, b, eps: (_bn_ref(x, w, b, eps=eps), x.mean((0, 2)), 1 / np.sqrt(x.var((0, 2)) + eps)),
)  # fmt: skip


# ---- batch norm with running statistics ----------------------------------------------------------------
def _bn_eval(x: Any, w: Any, b: Any, mean: Any, var: Any, eps: float) -> Any:
    scale = 1 / xp.sqrt(var + eps)
    if w is not None:
        scale = scale * w
    y = (x - _across(mean, x.ndim)) * _across(scale, x.ndim)
    return y if b is None else y + _across(b, x.ndim)


def _bn_eval_cpu(
    input: Any,
    weight: Any = None,
    bias: Any = None,
    mean: Any = None,
    var: Any = None,
    *,
    eps: float,
) -> Any:
    if fits(input, weight, bias, mean, var):
        return fast.batch_norm_eval(input, weight, bias, mean, var, eps, False)
    return batch_norm_eval_generic(input, weight, bias, mean, var, eps=eps)


def bn_eval_formula(
    input: Any,
    weight: Any = None,
    bias: Any = None,
    mean: Any = None,
    var: Any = None,
    *,
    eps: float,
) -> Any:
    """Batch norm with given statistics, in differentiable operators."""
    shape = (1, -1) + (1,) * (input._a.ndim - 2)
    y = (input - mean.reshape(shape)) * (var + eps).rsqrt().reshape(shape)
    y = y if weight is None else y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _bn_eval_backward(
    g: Any, input: Any, weight: Any, mean: Any, var: Any, eps: float, want: Any
) -> Any:
    rstd = 1 / xp.sqrt(var + eps)
    scale = rstd if weight is None else rstd * weight
    dims = (0, *range(2, g.ndim))
    gx = g * _across(scale, g.ndim) if want[0] else None
    gw = xp.add.reduce(g * (input - _across(mean, g.ndim)), dims) * rstd if want[1] else None
    gb = xp.add.reduce(g, dims) if want[2] or want[3] else None
    gm = None if gb is None or not want[3] else -gb * scale
    gv = None
    if want[4]:
        c = xp.add.reduce(g * (input - _across(mean, g.ndim)), dims)
        gv = -0.5 * c * rstd**3 * (1 if weight is None else weight)
    return gx, gw, gb if want[2] else None, gm, gv


batch_norm_eval = composite(
    "batch_norm_eval", bn_eval_formula,
    lambda input, weight=None, bias=None, mean=None, var=None, *, eps: _bn_eval(input, weight, bias, mean, var, eps),
    lambda g, input, weight, mean, var, eps, want: _bn_eval_backward(g, input, weight, mean, var, eps, want),
    cpu=_bn_eval_cpu, rule="math", method=False, grad_name="NativeBatchNormBackward0", onnx="BatchNormalization",
    samples=lambda: [((_a(3, 2, 4), _a(2), _a(2), _a(2) * 0.5, _a(2) ** 2 + 0.5), {"eps": 1e-5})],
    ref=lambda x, w, b, m, v, eps: ((x - m[:, None]) / np.sqrt(v + eps)[:, None]) * w[:, None] + b[:, None],
)  # fmt: skip


def batch_norm(
    input: Tensor, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise every channel of [N, C, ...]; in training the running statistics move by momentum."""
    if input._a.ndim == 1 and input.numel() == 0:
        empty: Tensor = input.clone()
        return empty
    if input._a.ndim < 2:
        raise ShapeError(
            f"batch_norm: expected input of at least 2 dimensions, got {list(input._a.shape)}"
        )
    c = input._a.shape[1]
    for name, v in (
        ("running_mean", running_mean),
        ("running_var", running_var),
        ("weight", weight),
        ("bias", bias),
    ):
        if v is not None and v.numel() != c:
            raise ShapeError(f"{name} should contain {c} elements not {v.numel()}")
    if not training:
        if running_mean is None or running_var is None:
            raise RuntimeError(
                "running_mean must be defined in evaluation mode"
                if running_mean is None
                else "running_var must be defined in evaluation mode"
            )
        y: Tensor = batch_norm_eval(input, weight, bias, running_mean, running_var, eps=eps)
        return y
    n = input.numel() // max(c, 1)
    if n <= 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {list(input._a.shape)}"
            if n == 1
            else f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    y, mean, rstd = batch_norm_train(input, weight, bias, eps=eps)
    if running_mean is not None:
        var = 1 / (rstd._a * rstd._a) - eps
        for running, now in ((running_mean, mean._a), (running_var, var * (n / (n - 1)))):
            running._a *= 1 - momentum
            running._a += (momentum * now).astype(running._a.dtype)
            running._bump()
    return y


# ---- layer norm ----------------------------------------------------------------------------------------
def _ln(x: Any, w: Any, b: Any, dims: int, eps: float) -> Any:
    last = tuple(range(x.ndim - dims, x.ndim))
    n = math.prod(x.shape[x.ndim - dims :])
    h = x - xp.add.reduce(x, last, keepdims=True) / n
    rstd = 1 / xp.sqrt(xp.add.reduce(h * h, last, keepdims=True) / n + eps)
    h *= rstd
    y = h if w is None else h * w
    if b is not None:
        y = y + b
    return (y.copy() if y is h else y), h, rstd


def _ln_cpu(input: Any, weight: Any = None, bias: Any = None, *, dims: int, eps: float) -> Any:
    if has("layer_norm") and fits(input, weight, bias) and input.dtype == np.float32:
        width = math.prod(input.shape[input.ndim - dims :])
        y, mean, rstd = fast.layer_norm(input, width, _flat(weight), _flat(bias), eps)
        return y.reshape(input.shape), mean, rstd
    return native_layer_norm_generic(input, weight, bias, dims=dims, eps=eps)


def _flat(v: Any) -> Any:
    return None if v is None else v.reshape(-1)


def ln_formula(input: Any, weight: Any = None, bias: Any = None, *, dims: int, eps: float) -> Any:
    """Layer norm in differentiable operators."""
    last = tuple(range(-dims, 0))
    d = input - input.mean(last, keepdim=True)
    y = d * ((d * d).mean(last, keepdim=True) + eps).rsqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _ln_backward(g: Any, input: Any, weight: Any, h: Any, rstd: Any, dims: int, want: Any) -> Any:
    if (
        rstd.ndim == 1 and h.ndim == 1 and type(g) is np.ndarray and has("layer_norm")
    ):  # the compiled form keeps mean and rstd
        shape = input.shape[input.ndim - dims :]
        gx, gw, gb = fast.layer_norm_grad(g, input, math.prod(shape), _flat(weight), h, rstd)
        return (
            gx.reshape(g.shape),
            gw.reshape(shape) if want[1] else None,
            gb.reshape(shape) if want[2] else None,
        )
    last, lead = tuple(range(g.ndim - dims, g.ndim)), tuple(range(g.ndim - dims))
    n = math.prod(g.shape[g.ndim - dims :])
    u = g if weight is None else g * weight
    a = xp.add.reduce(u, last, keepdims=True) / n
    b = xp.add.reduce(u * h, last, keepdims=True) / n
    gx = (u - a - h * b) * rstd if want[0] else None
    return (
        gx,
        xp.add.reduce(g * h, lead) if want[1] else None,
        xp.add.reduce(g, lead) if want[2] else None,
    )


native_layer_norm = composite(
    "native_layer_norm", ln_formula,
    lambda input, weight=None, bias=None, *, dims, eps: _ln(input, weight, bias, dims, eps),
    lambda g, input, weight, h, rstd, dims, want: _ln_backward(g, input, weight, h, rstd, dims, want),
    cpu=_ln_cpu, keeps=("h", "rstd"), rule="math", method=False, grad_name="NativeLayerNormBackward0",
    onnx="LayerNormalization", samples=lambda: [((_a(3, 2, 4), _a(2, 4), _a(2, 4)), {"dims": 2, "eps": 1e-5}),
                                                ((_a(3, 5),), {"dims": 1, "eps": 1e-5})],
    ref=lambda x, w=1.0, b=0.0, *, dims, eps: _ln_ref(x, w, b, tuple(range(-dims, 0)), eps),
)  # fmt: skip


def _ln_ref(x: Any, w: Any, b: Any, last: Any, eps: float) -> Any:
    return (x - x.mean(last, keepdims=True)) / np.sqrt(x.var(last, keepdims=True) + eps) * w + b


def _tail(input: Any, normalized_shape: Any, weight: Any, bias: Any) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if not shape:
        raise RuntimeError(
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element, but got normalized_shape = []"
        )
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and tuple(v._a.shape) != shape:
            raise ShapeError(
                f"Expected {name} to be of same shape as normalized_shape, but got {name} of shape {list(v._a.shape)} and normalized_shape = {list(shape)}"
            )
    if input._a.ndim < len(shape) or tuple(input._a.shape[input._a.ndim - len(shape) :]) != shape:
        raise ShapeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*, {', '.join(map(str, shape))}], but got input of size{list(input._a.shape)}"
        )
    return shape


def layer_norm(
    input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over the last dimensions."""
    shape = _tail(input, normalized_shape, weight, bias)
    y: Tensor = native_layer_norm(input, weight, bias, dims=len(shape), eps=eps)
    return y


def rms_norm(
    input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the last dimensions."""
    shape = _tail(input, normalized_shape, weight, None)
    if eps is None:
        eps = float(np.finfo(input._a.dtype).eps) if input._a.dtype.kind == "f" else 2.0**-23
    dims = tuple(range(-len(shape), 0))
    y: Tensor = input * (input.pow(2).mean(dims, keepdim=True) + eps).rsqrt()
    return y if weight is None else y * weight


# ---- group and instance norm: layer norm and batch norm of other shapes -----------------------------------
def group_norm(
    input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """Normalise groups of channels of [N, C, ...] in each sample."""
    s = tuple(input._a.shape)
    if len(s) < 2:
        raise ShapeError(f"Expected at least 2 dimensions for input tensor but received {len(s)}")
    if num_groups <= 0 or s[1] % num_groups:
        raise ShapeError(
            f"Expected number of channels in input to be divisible by num_groups, but got input of shape {list(s)} and num_groups={num_groups}"
        )
    for name, v in (("weight", weight), ("bias", bias)):
        if v is not None and (v._a.ndim != 1 or v.numel() != s[1]):
            raise ShapeError(
                f"Expected {name} to be a vector of size equal to the number of channels in input, but got {name} of shape {list(v._a.shape)} and input of shape {list(s)}"
            )
    y = native_layer_norm(
        input.reshape(s[0], num_groups, math.prod(s[1:]) // num_groups), None, None, dims=1, eps=eps
    ).reshape(s)
    shape = (1, -1) + (1,) * (len(s) - 2)
    y = y if weight is None else y * weight.reshape(shape)
    made: Tensor = y if bias is None else y + bias.reshape(shape)
    return made


def instance_norm(
    input: Tensor, running_mean: Any = None, running_var: Any = None, weight: Any = None, bias: Any = None,
    use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise each channel of each sample of [N, C, ...]."""
    s = tuple(input._a.shape)
    if use_input_stats and math.prod(s[2:]) == 1:
        raise ValueError(
            f"Expected more than 1 spatial element when training, got input size {input.shape}"
        )
    n, c = s[:2]

    def each(v: Any) -> Any:
        return None if v is None else v.repeat(n)

    mean, var = (None if v is None else wrap(np.tile(v._a, n)) for v in (running_mean, running_var))
    y = batch_norm(
        input.reshape(1, n * c, *s[2:]),
        mean,
        var,
        each(weight),
        each(bias),
        use_input_stats,
        momentum,
        eps,
    )
    for running, moved in ((running_mean, mean), (running_var, var)):
        if running is not None and use_input_stats and moved is not None:
            running._a[...] = moved._a.reshape(n, c).mean(0)
            running._bump()
    made: Tensor = y.reshape(s)
    return made


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide by a power of the mean square over neighbouring channels."""
    from .avgpool import avg_pool2d, avg_pool3d
    from .pad import pad

    if input._a.ndim < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality                          input (got {input._a.ndim} dimensions)"
        )
    if input.numel() == 0:
        return input
    square, s = input.mul(input), tuple(input._a.shape)
    if input._a.ndim == 3:
        d = pad(square.unsqueeze(1), (0, 0, size // 2, (size - 1) // 2))
        mean = avg_pool2d(d, (size, 1), stride=1).squeeze(1)
    else:
        d = pad(square.reshape(s[0], 1, s[1], s[2], -1), (0, 0, 0, 0, size // 2, (size - 1) // 2))
        mean = avg_pool3d(d, (size, 1, 1), stride=1).squeeze(1).reshape(s)
    y: Tensor = input / mean.mul(alpha).add(k).pow(beta)
    return y


def normalize(
    input: Tensor, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> Tensor:
    """Divide by the p-norm along a dimension."""
    from .stats import norm

    size = norm(input, p, dim, keepdim=True).clamp_min(eps)
    y: Tensor = input / size.expand_as(input)
    return y if out is None else out.copy_(y)


__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]
NN = [*__all__, "local_response_norm", "normalize"]
publish(globals())
