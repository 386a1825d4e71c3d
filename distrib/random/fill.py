"""Fills of raw arrays: PyTorch's numbers on CPU, bit by bit, and the same words consumed.

Each function writes into ``out`` (any strides; elements are drawn in memory order, as PyTorch does)
and takes the Generator last. Errors are PyTorch's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import BF16, C8, C16, F2, F4, F8, Array, RawDType
from . import boxmuller
from .generator import Generator

CHUNK = 32768  # elements a step: scratch arrays stay in the second-level cache
_M53 = (1 << 53) - 1
M53 = np.uint64(_M53)
WIDE_RANGE = 1 << 28  # from this range on, integers take two words: the bias stays below 2**-4

# The names that PyTorch's messages use for a dtype: of its scalar types, and of C++'s.
SCALAR_NAMES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int",
    "int64": "Long", "uint16": "UInt16", "uint32": "UInt32", "uint64": "UInt64", "float16": "Half",
    "bfloat16": "BFloat16", "float32": "Float", "float64": "Double", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip
_CPP_NAMES = {
    "bool": "bool", "uint8": "unsigned char", "int8": "signed char", "int16": "short",
    "int32": "int", "int64": "long int", "uint16": "short unsigned int", "uint32": "unsigned int",
    "uint64": "long unsigned int", "float16": "c10::Half", "bfloat16": "c10::BFloat16",
    "float32": "float", "float64": "double",
}  # fmt: skip
_DIGITS = {F2: 11, BF16: 8, F4: 24, F8: 53}  # bits of a floating dtype's significand
_FLOAT_MAX = {
    F2: 65504.0,
    BF16: 3.3895313892515355e38,
    F4: 3.4028234663852886e38,
    F8: 1.7976931348623157e308,
}


# ---- where the numbers go ----------------------------------------------------------------------
def in_memory_order(out: Array) -> Array:
    """A view of ``out`` whose dimensions go from the largest stride to the smallest."""
    if out.flags.c_contiguous:
        return out
    return out.transpose(sorted(range(out.ndim), key=lambda d: -abs(out.strides[d])))


def _real_view(out: Array) -> Array:
    """A complex array as its parts, [..., 2]; others as they are."""
    if out.dtype not in (C8, C16):
        return out
    part = out.real
    strides = (*out.strides, part.itemsize)
    return np.lib.stride_tricks.as_strided(part, (*out.shape, 2), strides, writeable=True)


def _cast(values: Array, to: RawDType) -> Array:
    if to.itemsize == 2 and values.dtype == F8 and to in _DIGITS:
        values = values.astype(F4)  # PyTorch's half types are made of float32
    with np.errstate(over="ignore"):
        return values.astype(to, copy=False)


def _fill(out: Array, make: Callable[[int], Array]) -> None:
    """Write make(k), called for the next k elements in memory order, into ``out``."""
    ordered = in_memory_order(out)
    direct = ordered.flags.c_contiguous
    line = ordered.reshape(-1) if direct else np.empty(ordered.size, out.dtype)
    for i in range(0, line.size, CHUNK):
        k = min(CHUNK, line.size - i)
        line[i : i + k] = make(k)
    if not direct:
        ordered[...] = line.reshape(ordered.shape)


def _unsupported(kernel: str, dtype: RawDType) -> NotImplementedError:
    return NotImplementedError(f"\"{kernel}\" not implemented for '{SCALAR_NAMES[dtype.name]}'")


# ---- from words to numbers ---------------------------------------------------------------------
def pairs64(words: Array) -> Array:
    """Two words to one of 64 bits, the high half first: uint32 [2 n] to uint64 [n]."""
    together = words.view("<u8")
    return (together << np.uint64(32)) | (together >> np.uint64(32))


def unit24(gen: Generator, n: int) -> Array:
    """Uniform float32 in [0, 1): 24 bits of one word each."""
    source = gen.source()
    if source.kernel is not None:
        out = np.empty(n, F4)
        source.kernel.mt_uniform(source.state, out)
        return out
    words = source.words(n)
    words &= np.uint32(0xFFFFFF)
    return words.view(np.int32).astype(F4) * np.float32(2.0**-24)


def unit53(gen: Generator, n: int) -> Array:
    """Uniform float64 in [0, 1): 53 bits of two words each."""
    source = gen.source()
    if source.kernel is not None:
        out = np.empty(n, F8)
        source.kernel.mt_uniform(source.state, out)
        return out
    return (pairs64(source.words(2 * n)) & M53).view(np.int64).astype(F8) * 2.0**-53


# ---- continuous distributions ------------------------------------------------------------------
def uniform(out: Array, low: float, high: float, gen: Generator) -> None:
    """Uniform in [low, high); a result that rounds to ``high`` becomes ``low``, as in PyTorch."""
    out = _real_view(out)
    dt = out.dtype
    if dt not in _DIGITS:
        raise _unsupported("check_uniform_bounds", dt)
    unit = (low, high) == (0, 1)
    if unit and dt.itemsize > 2 and out.flags.c_contiguous:
        with gen.lock:
            source = gen.source()
            if source.kernel is not None:
                source.kernel.mt_uniform(source.state, out)
                return
    limit, name = _FLOAT_MAX[dt], _CPP_NAMES[dt.name]
    for label, value in (("from", low), ("to", high)):
        if not -limit <= value <= limit:
            raise RuntimeError(f"{label} is out of bounds for {name}")
    if low > high:
        raise RuntimeError(
            f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}"
        )
    if high - low > limit:
        raise RuntimeError(
            f"uniform_ expects to-from <= std::numeric_limits<{SCALAR_NAMES[dt.name]}>::max(), but "
            f"found to={high:g} and from={low:g} which result in to-from to exceed the limit"
        )
    if dt == F8:
        make = _uniform64(gen, float(low), float(high), unit)
    else:
        make = _uniform32(gen, np.float32(low), np.float32(high), unit, dt)
    with gen.lock:
        _fill(out, make)


def _uniform64(gen: Generator, low: float, high: float, unit: bool) -> Callable[[int], Array]:
    def make(k: int) -> Array:
        u = unit53(gen, k)
        if not unit:
            u = boxmuller.fma64(u, high - low, low)
            u[u == high] = low
        return u

    return make


def _uniform32(
    gen: Generator, low: Any, high: Any, unit: bool, dt: RawDType
) -> Callable[[int], Array]:
    first, end = low.astype(dt), high.astype(dt)

    def make(k: int) -> Array:
        u = unit24(gen, k)
        if not unit:
            u = boxmuller.fma32(u, float(high - low), float(low))
        if not unit or dt != F4:
            u = u.astype(dt, copy=False)
            u[u == end] = first
        return u

    return make


def normal(out: Array, mean: float, std: float, gen: Generator) -> None:
    """Normal; 16 or more elements without gaps take another path than fewer, as in PyTorch."""
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    if out.dtype in (C8, C16):
        std = std / math.sqrt(2)
        out = _real_view(out)
    if out.dtype not in _DIGITS:
        raise _unsupported("normal_kernel_cpu", out.dtype)
    with gen.lock:
        if out.size < 16 or not out.flags.c_contiguous:
            _fill(
                out,
                lambda k: _cast(_shifted(normals(gen, k, out.dtype == F8), mean, std), out.dtype),
            )
        else:
            _normal_blocks(out.reshape(-1), float(mean), float(std), gen)


def _normal_blocks(line: Array, mean: float, std: float, gen: Generator) -> None:
    """Blocks of 16; the last 16 elements are drawn (again) if the last block is incomplete.

    PyTorch has drawn the incomplete block before, except for the half types.
    """
    double = line.dtype == F8
    source = gen.source()
    if source.kernel is not None and line.itemsize > 2:
        source.kernel.mt_normal(source.state, line, mean, std)
        return
    unit = unit53 if double else unit24
    change = boxmuller.blocks64 if double else boxmuller.blocks32
    n = line.size
    whole = n - n % 16
    for i in range(0, whole, CHUNK):
        k = min(CHUNK, whole - i)
        line[i : i + k] = change(unit(gen, k).reshape(-1, 2, 8), mean, std).reshape(-1)
    if n != whole:
        if line.itemsize > 2:
            unit(gen, n - whole)
        line[n - 16 :] = change(unit(gen, 16).reshape(-1, 2, 8), mean, std).reshape(-1)


def normals(gen: Generator, n: int, exact: bool) -> Array:
    """Standard normals one by one, float64 [n]: the second of a pair waits for the next call."""
    if n < 32:
        return np.array(_few_normals(gen, n), F8)
    held = gen.normal
    count = (n - (held is not None) + 1) // 2
    u = unit53(gen, 2 * count).reshape(-1, 2)
    drawn = boxmuller.pairs(u, exact).reshape(-1)
    if held is not None:
        drawn = np.concatenate(([held], drawn))
    left_over = drawn.size > n
    gen.normal = float(boxmuller.pairs(u[-1:], exact=True)[0, 1]) if left_over else None
    return drawn[:n]


def _few_normals(gen: Generator, n: int) -> list[float]:
    """The same for a few, without arrays: a tenth of the time."""
    out = [] if gen.normal is None or n == 0 else [gen.normal]
    pairs = (n - len(out) + 1) // 2
    words = gen.words(4 * pairs).tolist() if pairs else []
    for i in range(0, 4 * pairs, 4):
        angle = 2 * math.pi * (((words[i] << 32 | words[i + 1]) & _M53) * 2.0**-53)
        u = ((words[i + 2] << 32 | words[i + 3]) & _M53) * 2.0**-53
        radius = math.sqrt(-2.0 * math.log1p(-u))
        out += (radius * math.cos(angle), radius * math.sin(angle))
    if n:
        gen.normal = out.pop() if len(out) > n else None
    return out


def _shifted(z: Array, mean: float, std: float) -> Array:
    return z if (mean, std) == (0, 1) else boxmuller.fma64(z, float(std), float(mean))


def log_normal(out: Array, mean: float, std: float, gen: Generator) -> None:
    """exp of a normal, from the pairs of `normals`."""
    if not std > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={std:g}")
    dt = out.dtype
    if dt not in _DIGITS:
        raise _unsupported("log_normal_cpu", dt)
    exact = dt == F8

    def make(k: int) -> Array:
        z = _shifted(normals(gen, k, exact), mean, std)
        return _cast(boxmuller.libm(_exp, z) if exact else np.exp(z), dt)

    with gen.lock, np.errstate(over="ignore"):
        _fill(out, make)


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.78 else math.inf


def exponential(out: Array, rate: float, gen: Generator) -> None:
    """Exponential with the given rate (PyTorch's ``lambd``)."""
    dt = out.dtype
    if dt not in _DIGITS:
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {SCALAR_NAMES[dt.name]}"
        )
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")

    def make(k: int) -> Array:
        u = -unit53(gen, k)
        return _cast(
            (-1.0 / rate) * (boxmuller.libm(math.log1p, u) if dt == F8 else np.log1p(u)), dt
        )

    with gen.lock:
        _fill(out, make)


def cauchy(out: Array, median: float, sigma: float, gen: Generator) -> None:
    """Cauchy around a median."""
    dt = out.dtype
    if dt not in _DIGITS:
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a "
            f"floating point but you specified {_CPP_NAMES.get(dt.name, SCALAR_NAMES[dt.name])}"
        )
    if not sigma > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={sigma:g}")

    def make(k: int) -> Array:
        angle = math.pi * (unit53(gen, k) - 0.5)
        tangent = boxmuller.libm(math.tan, angle) if dt == F8 else np.tan(angle)
        return _cast(boxmuller.fma64(tangent, float(sigma), float(median)), dt)

    with gen.lock, np.errstate(over="ignore"):
        _fill(out, make)


# ---- discrete distributions --------------------------------------------------------------------
def geometric(out: Array, p: float, gen: Generator) -> None:
    """Number of trials up to the first success, 1, 2, ..."""
    dt = out.dtype
    if not 0 < p < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={p:g}")
    if dt.kind in "bc":
        raise _unsupported("geometric_cpu", dt)

    def make(k: int) -> Array:
        return _cast(np.ceil(np.log(unit53(gen, k)) / math.log1p(-p)), dt)

    with gen.lock, np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        _fill(out, make)


def bernoulli(out: Array, p: float, gen: Generator) -> None:
    """1 where a 53-bit uniform is below p, else 0; any real dtype. Dropout's masks are these."""
    if not 0 <= p <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={p:g}")
    dt = out.dtype
    if dt.kind == "c":
        raise _unsupported("bernoulli_scalar_cpu_", dt)
    # u < p exactly where the 53 bits are below ceil(p 2**53); nearly always their high word decides
    top = math.ceil(p * 2.0**53)
    high, low = np.uint32(top >> 32), np.uint32(top & 0xFFFFFFFF)

    def make(k: int) -> Array:
        source = gen.source()
        if source.kernel is not None:
            bits = np.empty(k, np.bool_)
            source.kernel.mt_bernoulli(source.state, bits, p)
            return bits
        words = source.words(2 * k)
        upper = words[0::2] & np.uint32(0x1FFFFF)
        mask: Array = upper < high
        tie = upper == high
        if tie.any():
            mask |= tie & (words[1::2] < low)
        return mask

    with gen.lock:
        source = gen.source()
        if source.kernel is not None and dt.kind == "b" and out.flags.c_contiguous:
            source.kernel.mt_bernoulli(source.state, out, p)
            return
        _fill(out, make)


def bernoulli_each(out: Array, p: Array, gen: Generator) -> None:
    """1 with the probability of each element; float64 probabilities take 53 bits, others 24."""
    if out.dtype.kind == "c" or p.dtype not in _DIGITS:
        raise _unsupported(
            "bernoulli_tensor_cpu_p_", out.dtype if out.dtype.kind == "c" else p.dtype
        )
    p = np.broadcast_to(p, out.shape)
    if not ((p >= 0) & (p <= 1)).all():
        raise RuntimeError(
            "Expected p_in >= 0 && p_in <= 1 to be true, but got false. The probabilities are "
            f"{p.min()} to {p.max()}"
        )
    order = sorted(range(out.ndim), key=lambda d: -abs(out.strides[d]))
    flat = (p if out.flags.c_contiguous else p.transpose(order)).reshape(-1)
    unit = unit53 if p.dtype == F8 else unit24
    at = 0

    def make(k: int) -> Array:
        nonlocal at
        at += k
        wide: Array = unit(gen, k)
        return wide < flat[at - k : at].astype(wide.dtype, copy=False)

    with gen.lock:
        _fill(out, make)


def _integers(gen: Generator, k: int, low: int, span: int, dt: RawDType) -> Array:
    """low + word % span, from two words where the span is wide; span 2**64 is any 64 bits."""
    if span < WIDE_RANGE:
        drawn = gen.words(k)
        if span & (span - 1):
            drawn %= np.uint32(span)
        else:
            drawn &= np.uint32(span - 1)
        if low == 0:
            return drawn.view(np.int32).astype(dt, copy=False)
        return (drawn.astype(np.int64) + low).astype(dt, copy=False)
    wide = pairs64(gen.words(2 * k))
    if span < 1 << 64:
        wide %= np.uint64(span)
        wide += np.uint64(low % (1 << 64))
    return wide.astype(dt) if dt == np.dtype("u8") else wide.view(np.int64).astype(dt, copy=False)


def _check_bound(value: int, label: str, dt: RawDType) -> None:
    if dt in _DIGITS:
        low, high = -_FLOAT_MAX[dt], _FLOAT_MAX[dt]
        exact = 1 << _DIGITS[dt]
        if low <= value <= high and not -exact <= value <= exact:
            warnings.warn(
                f"{label} is out of bounds [-(2^{_DIGITS[dt]}), 2^{_DIGITS[dt]}]: "
                f"{_CPP_NAMES[dt.name]} cannot represent every integer of the range",
                stacklevel=4,
            )
    elif dt.kind == "b":
        low, high = 0, 1
    else:
        low, high = int(np.iinfo(dt).min), int(np.iinfo(dt).max)
    if not low <= value <= high:
        raise RuntimeError(f"{label} is out of bounds for {_CPP_NAMES[dt.name]}")


def random(out: Array, low: int | None, high: int | None, gen: Generator) -> None:
    """Integers in [low, high).

    Without ``high``: up to the largest that the dtype holds exactly; without ``low`` too: the same
    from 0, with PyTorch's own stream for that case (``random_()``).
    """
    dt = out.dtype
    if dt.kind == "c" or (low is None and high is None and dt.kind == "u" and dt.itemsize > 1):
        raise _unsupported("random_kernel_cpu", dt)
    largest = 1 << _DIGITS[dt] if dt in _DIGITS else 1 if dt.kind == "b" else int(np.iinfo(dt).max)
    if low is None and high is None:
        span = largest + 1
        wide = dt == F8 or dt.itemsize == 8
        with gen.lock:
            _fill(out, lambda k: _whole(gen, k, span, wide, dt))
        return
    first = 0 if low is None else int(low)
    if high is None:
        _check_bound(first, "from", dt)
        last = largest
    else:
        last = int(high) - 1
        if first > last:
            raise RuntimeError(
                f"random_ expects 'from' to be less than 'to', but got from={first} >= to={high}"
            )
        _check_bound(first, "from", dt)
        _check_bound(last, "to - 1", dt)
    with gen.lock:
        _fill(out, lambda k: _integers(gen, k, first, last - first + 1, dt))


def _whole(gen: Generator, k: int, span: int, wide: bool, dt: RawDType) -> Array:
    """``random_()``: the number of words follows from the dtype, not from the span."""
    if wide:
        return (pairs64(gen.words(2 * k)) % np.uint64(span)).view(np.int64).astype(dt)
    return (gen.words(k) % np.uint32(span)).view(np.int32).astype(dt)
