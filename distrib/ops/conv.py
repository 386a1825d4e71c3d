"""Convolutions in one to three dimensions: three bilinear operators that are each other's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..tensor import Tensor
from .arithmetic import conj
from .native import fast, fits
from .registry import operator, publish
from .shape import _a
from .window import _conv_np, _input_grad_np, _weight_grad_np

xp: Any = None  # bound per array type
conv_generic: Any = None  # the NumPy forms, bound beside the compiled ones
conv_input_grad_generic: Any = None
conv_weight_grad_generic: Any = None


# ---- compiled forms --------------------------------------------------------------------------------
def _conv_cpu(
    input: Any,
    weight: Any,
    bias: Any = None,
    *,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Any:
    if fits(input, weight, bias):
        return fast.conv(input, weight, bias, stride, padding, dilation, groups)
    return conv_generic(
        input, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _input_grad_cpu(
    g: Any, weight: Any, *, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    if fits(g, weight):
        return fast.conv_input_grad(g, weight, shape, stride, padding, dilation, groups)
    return conv_input_grad_generic(
        g, weight, shape=shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def _weight_grad_cpu(
    g: Any, input: Any, *, shape: Any, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    if fits(g, input):
        return fast.conv_weight_grad(g, input, shape, stride, padding, dilation, groups)
    return conv_weight_grad_generic(
        g, input, shape=shape, stride=stride, padding=padding, dilation=dilation, groups=groups
    )


def bias_sum(g: Any) -> Any:
    """The gradient of a bias: the sum over everything but the channels; arrays or Tensors."""
    from .reduce import sum as total

    dims = (0, *range(2, len(g.shape)))
    if isinstance(g, Tensor):
        return total(g, dim=dims)
    return _bias_sum(g, dims)


def _bias_sum(g: Any, dims: Any) -> Any:
    if type(g) is np.ndarray and fits(g):
        return fast.channel_sum(g)
    return xp.add.reduce(g, dims)


_OPTIONS: dict[str, Any] = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}


def _loops(
    x: Any, w: Any, b: Any = 0.0, *, stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """Convolution by its definition, for two dimensions."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    o = [(x.shape[2 + i] - (w.shape[2 + i] - 1) * dilation[i] - 1) // stride[i] + 1 for i in (0, 1)]
    y = np.zeros((x.shape[0], w.shape[0], *o))
    cin, cout = w.shape[1], w.shape[0] // groups
    for c in range(w.shape[0]):
        part = x[:, c // cout * cin : (c // cout + 1) * cin]
        for i in range(o[0]):
            for j in range(o[1]):
                rows = i * stride[0] + np.arange(w.shape[2]) * dilation[0]
                cols = j * stride[1] + np.arange(w.shape[3]) * dilation[1]
                y[:, c, i, j] = (part[:, :, rows][:, :, :, cols] * w[c]).sum((1, 2, 3))
    return y + np.reshape(b, (1, -1, 1, 1))


def _samples() -> Any:
    return [((_a(2, 4, 6, 5), _a(6, 2, 3, 2), _a(6)), dict(_OPTIONS))]


conv = operator(
    "conv",
    lambda input, weight, bias=None, *, stride, padding, dilation, groups: _conv_np(
        input, weight, bias, stride, padding, dilation, groups),
    (lambda g, weight, input_shape, stride, padding, dilation, groups: conv_input_grad(
        g, conj(weight), shape=input_shape, stride=stride, padding=padding, dilation=dilation, groups=groups),
     lambda g, input, weight_shape, stride, padding, dilation, groups: conv_weight_grad(
        g, conj(input), shape=weight_shape, stride=stride, padding=padding, dilation=dilation, groups=groups),
     lambda g: bias_sum(g)),
    "math", cpu=_conv_cpu, method=False, grad_name="ConvolutionBackward0", samples=_samples, ref=_loops, onnx="Conv",
)  # fmt: skip
conv_input_grad: Any = operator(
    "conv_input_grad",
    lambda grad, weight, *, shape, stride, padding, dilation, groups: _input_grad_np(
        grad, weight, shape, stride, padding, dilation, groups),
    (lambda h, weight, stride, padding, dilation, groups: conv(
        h, conj(weight), None, stride=stride, padding=padding, dilation=dilation, groups=groups),
     lambda h, grad, weight_shape, stride, padding, dilation, groups: conv_weight_grad(
        conj(grad), h, shape=weight_shape, stride=stride, padding=padding, dilation=dilation, groups=groups)),
    "math", cpu=_input_grad_cpu, method=False, grad_name="ConvolutionBackward0",
    samples=lambda: [((_a(2, 6, 4, 3), _a(6, 2, 3, 2)), {**_OPTIONS, "shape": (2, 4, 7, 5)})],
    ref=lambda g, w, shape, **o: _by_basis(lambda x: _loops(x, w, **o), g, shape),
)  # fmt: skip
conv_weight_grad: Any = operator(
    "conv_weight_grad",
    lambda grad, input, *, shape, stride, padding, dilation, groups: _weight_grad_np(
        grad, input, shape, stride, padding, dilation, groups),
    (lambda h, input, stride, padding, dilation, groups: conv(
        conj(input), h, None, stride=stride, padding=padding, dilation=dilation, groups=groups),
     lambda h, grad, input_shape, stride, padding, dilation, groups: conv_input_grad(
        conj(grad), h, shape=input_shape, stride=stride, padding=padding, dilation=dilation, groups=groups)),
    "math", cpu=_weight_grad_cpu, method=False, grad_name="ConvolutionBackward0",
    samples=lambda: [((_a(2, 6, 4, 3), _a(2, 4, 7, 5)), {**_OPTIONS, "shape": (6, 2, 3, 2)})],
    ref=lambda g, x, shape, **o: _by_basis(lambda w: _loops(x, w, **o), g, shape),
)  # fmt: skip


def _by_basis(fn: Any, g: Any, shape: Any) -> Any:
    """The transpose of a linear function, one unit vector at a time."""
    out = np.zeros(int(np.prod(shape)))
    for i in range(out.size):
        unit = np.zeros(out.size)
        unit[i] = 1
        out[i] = (fn(unit.reshape(shape)) * g).sum()
    return out.reshape(shape)


# ---- PyTorch's signatures ---------------------------------------------------------------------------
def ntuple(value: Any, n: int, name: str) -> tuple[int, ...]:
    """One int for all dimensions, or one for each."""
    if isinstance(value, (int, np.integer)):
        return (int(value),) * n
    made = tuple(int(v) for v in value)
    if len(made) == 1:
        return made * n
    if len(made) != n:
        raise ShapeError(
            f"expected {name} to be a single integer value or a list of {n} values to match the convolution dimensions, but got {name}={list(made)}"
        )
    return made


def _check(x: Any, w: Any, b: Any, n: int, groups: int, transposed: bool, name: str) -> None:
    for t, what in ((x, "input"), (w, "weight")):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): argument '{what}' must be Tensor, not {type(t).__name__}")
    if x._a.ndim not in (n + 1, n + 2):
        raise ShapeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of size: {list(x._a.shape)}"
        )
    if w._a.ndim != n + 2:
        raise ShapeError(
            f"expected {n + 2}-dimensional weight for {name}, but got weight of size {list(w._a.shape)}"
        )
    if x._a.dtype != w._a.dtype:
        raise DTypeError(
            f"Input type ({_kind(x)}) and bias type ({_kind(w)}) should be the same"
            if b is None
            else f"Input type ({_kind(x)}) and weight type ({_kind(w)}) should be the same"
        )
    if groups <= 0:
        raise ShapeError("non-positive groups is not supported")
    channels, cout = x._a.shape[-n - 1], w._a.shape[0]
    if transposed:
        if channels != cout:
            raise ShapeError(
                f"Given transposed=1, weight of size {list(w._a.shape)}, expected input{list(x._a.shape)} to have {cout} channels, but got {channels} channels instead"
            )
        return
    if cout % groups:
        raise ShapeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0 and divisible by {groups}, but got weight of size {list(w._a.shape)} instead"
        )
    if channels != w._a.shape[1] * groups:
        raise ShapeError(
            f"Given groups={groups}, weight of size {list(w._a.shape)}, expected input{list(x._a.shape)} to have {w._a.shape[1] * groups} channels, but got {channels} channels instead"
        )
    if b is not None and tuple(b._a.shape) != (cout,):
        raise ShapeError(
            f"Given weight of size {list(w._a.shape)}, expected bias to be 1-dimensional with {cout} elements, but got bias of size {list(b._a.shape)} instead"
        )


def _kind(t: Tensor) -> str:
    return str(t.type()).replace("torch.", "torch.", 1)


def _convolve(
    x: Any, w: Any, b: Any, stride: Any, padding: Any, dilation: Any, groups: int, n: int, name: str
) -> Tensor:
    _check(x, w, b, n, groups, False, name)
    s, d = ntuple(stride, n, "stride"), ntuple(dilation, n, "dilation")
    if any(k <= 0 for k in s):
        raise ShapeError(f"non-positive stride is not supported, got {list(s)}")
    if any(k <= 0 for k in d):
        raise ShapeError(f"dilation should be greater than zero, got {list(d)}")
    kernel = w._a.shape[2:]
    single = x._a.ndim == n + 1
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise RuntimeError(f"Invalid padding string: '{padding}'")
        if padding == "same" and any(k != 1 for k in s):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        total = [(k - 1) * e if padding == "same" else 0 for k, e in zip(kernel, d, strict=True)]
        if any(t % 2 for t in total):
            from .pad import pad

            sides = [v for t in total[::-1] for v in (0, t % 2)]
            x = pad(x, sides)
        p: tuple[int, ...] = tuple(t // 2 for t in total)
    else:
        p = ntuple(padding, n, "padding")
    if any(k < 0 for k in p):
        raise ShapeError(f"negative padding is not supported, got {list(p)}")
    if single:
        x = x.unsqueeze(0)
    size = [k + 2 * q for k, q in zip(x._a.shape[2:], p, strict=True)]
    reach = [(k - 1) * e + 1 for k, e in zip(kernel, d, strict=True)]
    if any(a < r for a, r in zip(size, reach, strict=True)):
        raise ShapeError(
            f"Calculated padded input size per channel: ({' x '.join(map(str, size))}). Kernel size: ({' x '.join(map(str, reach))}). Kernel size can't be greater than actual input size"
        )
    y: Tensor = conv(x, w, b, stride=s, padding=p, dilation=d, groups=groups)
    return y.squeeze(0) if single else y


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [N, C, L] with [O, C / groups, k]."""
    return _convolve(input, weight, bias, stride, padding, dilation, groups, 1, "conv1d")


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [N, C, H, W] with [O, C / groups, kh, kw]."""
    return _convolve(input, weight, bias, stride, padding, dilation, groups, 2, "conv2d")


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation of [N, C, D, H, W] with [O, C / groups, kd, kh, kw]."""
    return _convolve(input, weight, bias, stride, padding, dilation, groups, 3, "conv3d")


def _transposed(
    x: Any,
    w: Any,
    b: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    n: int,
    name: str,
) -> Tensor:
    _check(x, w, None, n, groups, True, name)
    s, p = ntuple(stride, n, "stride"), ntuple(padding, n, "padding")
    d, o = ntuple(dilation, n, "dilation"), ntuple(output_padding, n, "output_padding")
    if any(k >= max(a, e) for k, a, e in zip(o, s, d, strict=True)):
        raise ShapeError(
            f"output padding must be smaller than either stride or dilation, but got output_padding={list(o)} stride={list(s)} dilation={list(d)}"
        )
    if any(k <= 0 for k in s):
        raise ShapeError(f"non-positive stride is not supported, got {list(s)}")
    single = x._a.ndim == n + 1
    if single:
        x = x.unsqueeze(0)
    size = [(k - 1) * a - 2 * q + e * (m - 1) + r + 1 for k, a, q, e, m, r in
            zip(x._a.shape[2:], s, p, d, w._a.shape[2:], o, strict=True)]  # fmt: skip
    if any(k <= 0 for k in size):
        raise ShapeError(
            f"Given input size per channel: ({' x '.join(map(str, x._a.shape[2:]))}). Calculated output size per channel: ({' x '.join(map(str, size))}). Output size is too small"
        )
    channels = w._a.shape[1] * groups
    if b is not None and tuple(b._a.shape) != (channels,):
        raise ShapeError(
            f"Given transposed=1, weight of size {list(w._a.shape)}, expected bias to be 1-dimensional with {channels} elements, but got bias of size {list(b._a.shape)} instead"
        )
    if all(a < e for a, e in zip(o, s, strict=True)):
        y: Tensor = conv_input_grad(
            x,
            w,
            shape=(x._a.shape[0], channels, *size),
            stride=s,
            padding=p,
            dilation=d,
            groups=groups,
        )
    else:  # more room at the end than a stride: the whole result, then its frame cut or widened
        from .pad import pad

        whole = [k + 2 * q - r for k, q, r in zip(size, p, o, strict=True)]
        y = conv_input_grad(
            x,
            w,
            shape=(x._a.shape[0], channels, *whole),
            stride=s,
            padding=(0,) * n,
            dilation=d,
            groups=groups,
        )
        y = pad(y, [v for q, r in zip(p[::-1], o[::-1], strict=True) for v in (-q, r - q)])
    if b is not None:
        y = y + b.reshape(1, -1, *(1 for _ in range(n)))
    return y.squeeze(0) if single else y


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of conv1d; weight [C, O / groups, k]."""
    return _transposed(
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        1,
        "conv_transpose1d",
    )


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of conv2d; weight [C, O / groups, kh, kw]."""
    return _transposed(
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        2,
        "conv_transpose2d",
    )


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transpose of conv3d; weight [C, O / groups, kd, kh, kw]."""
    return _transposed(
        input,
        weight,
        bias,
        stride,
        padding,
        output_padding,
        groups,
        dilation,
        3,
        "conv_transpose3d",
    )


__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
NN = list(__all__)
publish(globals())
