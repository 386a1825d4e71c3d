"""Attention: scaled dot products, and several heads with their projections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..random import choose, fill
from ..tensor import Tensor, wrap
from .join import cat
from .linalg import linear, matmul_
from .random import dropout as drop
from .random import dropout_scale
from .registry import publish
from .sdpa import attention, scale_of
from .softmax import softmax


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(q k' * scale + mask) v: query [..., L, E], key [..., S, E], value [..., S, Ev].

    A boolean mask keeps where it is true; is_causal keeps what lies before; RuntimeError for both.
    """
    _check(query, key, value, attn_mask, is_causal)
    if enable_gqa:
        ratio = query._a.shape[-3] // key._a.shape[-3]
        key, value = (x.repeat_interleave(ratio, -3) for x in (key, value))
    mask, drawn, keep = attn_mask, None, 1.0
    if dropout_p > 0.0 and type(query._a) is np.ndarray:
        lead = np.broadcast_shapes(*(tuple(x._a.shape[:-2]) for x in (query, key, value)))
        bits = np.empty((*lead, query._a.shape[-2], key._a.shape[-2]), "?")
        fill.bernoulli(bits, 1.0 - dropout_p, choose(None))
        drawn, keep = wrap(bits), dropout_scale(dropout_p, query._a.dtype)
    y: Tensor = attention(
        query,
        key,
        value,
        mask,
        drawn,
        causal=bool(is_causal),
        scale=scale_of(query._a.shape[-1], scale),
        keep=keep,
    )
    return y


def _check(q: Tensor, k: Tensor, v: Tensor, mask: Any, is_causal: bool) -> None:
    if not q._a.dtype == k._a.dtype == v._a.dtype:
        raise DTypeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {q.dtype} key.dtype: {k.dtype} and value.dtype: {v.dtype} instead."
        )
    if min(x._a.ndim for x in (q, k, v)) < 2:
        raise ShapeError(
            f"Expected query, key, and value to all be  at least 2 dimensional, but got query.dim(): {q._a.ndim}, key.dim(): {k._a.ndim} and value.dim(): {v._a.ndim} instead."
        )
    if mask is not None:
        if is_causal:
            raise RuntimeError(
                "_scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True"
            )
        if mask._a.dtype.kind != "b" and mask._a.dtype != q._a.dtype:
            raise DTypeError(
                f"Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: {mask.dtype} and  query.dtype: {q.dtype} instead."
            )


# ---- several heads -----------------------------------------------------------------------------------
def _float_mask(mask: Any, name: str, like: Tensor) -> Any:
    """A mask as numbers to add: a boolean one means -inf where it is true."""
    if mask is None:
        return None
    if mask._a.dtype.kind == "b":
        return wrap(np.where(mask._a, -np.inf, 0.0).astype(like._a.dtype))
    if mask._a.dtype.kind != "f":
        raise AssertionError(f"only bool and floating types of {name} are supported")
    return mask


def _project(query: Tensor, key: Tensor, value: Tensor, w: Tensor, b: Any) -> tuple[Any, Any, Any]:
    """Query, key and value by the parts of one weight [3 E, E]; one product where they are the same."""
    e = query._a.shape[-1]
    if query is key and key is value:
        q, k, v = linear(query, w, b).split(e, -1)
        return q, k, v
    wq, wk, wv = w.split(e, 0)
    bq, bk, bv = (None, None, None) if b is None else b.split(e, 0)
    return linear(query, wq, bq), linear(key, wk, bk), linear(value, wv, bv)


def _mask_shape(attn_mask: Any, n: int, heads: int, length: int, source: int) -> Any:
    if attn_mask is None:
        return None
    if attn_mask._a.ndim == 2:
        if tuple(attn_mask._a.shape) != (length, source):
            raise RuntimeError(
                f"The shape of the 2D attn_mask is {attn_mask.shape}, but should be {(length, source)}."
            )
        return attn_mask.unsqueeze(0)
    if attn_mask._a.ndim == 3:
        if tuple(attn_mask._a.shape) != (n * heads, length, source):
            raise RuntimeError(
                f"The shape of the 3D attn_mask is {attn_mask.shape}, but should be {(n * heads, length, source)}."
            )
        return attn_mask
    raise RuntimeError(f"attn_mask's dimension {attn_mask._a.ndim} is not supported")


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Any,
    in_proj_bias: Any, bias_k: Any, bias_v: Any, add_zero_attn: bool, dropout_p: float, out_proj_weight: Tensor,
    out_proj_bias: Any, training: bool = True, key_padding_mask: Any = None, need_weights: bool = True,
    attn_mask: Any = None, use_separate_proj_weight: bool = False, q_proj_weight: Any = None,
    k_proj_weight: Any = None, v_proj_weight: Any = None, static_k: Any = None, static_v: Any = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Attention of several heads over [L, N, E] (or [L, E]): output and, if wanted, the weights."""
    single = query._a.ndim == 2
    if query._a.ndim not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query._a.ndim}-D query tensor"
        )
    if key._a.ndim != query._a.ndim or value._a.ndim != query._a.ndim:
        raise AssertionError(
            f"For {'unbatched' if single else 'batched'} ({query._a.ndim}-D) `query`, expected `key` and `value` to be {query._a.ndim}-D but found {key._a.ndim}-D and {value._a.ndim}-D tensors respectively"
        )
    if is_causal and attn_mask is None:
        raise RuntimeError("Need attn_mask if specifying the is_causal hint.")
    same = query is key and key is value
    if single:
        query = query.unsqueeze(1)
        key, value = (query, query) if same else (key.unsqueeze(1), value.unsqueeze(1))
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, n, e = query._a.shape
    if e != embed_dim_to_check:
        raise AssertionError(
            f"was expecting embedding dimension of {embed_dim_to_check}, but got {e}"
        )
    size = e // num_heads
    if size * num_heads != e:
        raise AssertionError(f"embed_dim {e} not divisible by num_heads {num_heads}")
    if key._a.shape[:2] != value._a.shape[:2]:
        raise AssertionError(
            f"key's sequence and batch dims {key._a.shape[:2]} do not match value's {value._a.shape[:2]}"
        )
    if use_separate_proj_weight:
        bq, bk, bv = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
        q, k, v = (
            linear(query, q_proj_weight, bq),
            linear(key, k_proj_weight, bk),
            linear(value, v_proj_weight, bv),
        )
    else:
        if key._a.shape != value._a.shape:
            raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
        q, k, v = _project(query, key, value, in_proj_weight, in_proj_bias)
    attn_mask = _mask_shape(
        _float_mask(attn_mask, "attn_mask", query), n, num_heads, length, k._a.shape[0]
    )
    key_padding_mask = _float_mask(key_padding_mask, "key_padding_mask", query)
    if bias_k is not None and bias_v is not None:
        k, v = cat([k, bias_k.repeat(1, n, 1)]), cat([v, bias_v.repeat(1, n, 1)])
        attn_mask, key_padding_mask = _wider(attn_mask), _wider(key_padding_mask)
    q = q.reshape(length, n * num_heads, size).transpose(0, 1)
    k = (
        static_k
        if static_k is not None
        else k.reshape(k._a.shape[0], n * num_heads, size).transpose(0, 1)
    )
    v = (
        static_v
        if static_v is not None
        else v.reshape(v._a.shape[0], n * num_heads, size).transpose(0, 1)
    )
    if add_zero_attn:
        zero = k.new_zeros(n * num_heads, 1, size)
        k, v = cat([k, zero], 1), cat([v, zero], 1)
        attn_mask, key_padding_mask = _wider(attn_mask), _wider(key_padding_mask)
    source = k._a.shape[1]
    if key_padding_mask is not None:
        if tuple(key_padding_mask._a.shape) != (n, source):
            raise AssertionError(
                f"expecting key_padding_mask shape of {(n, source)}, but got {tuple(key_padding_mask._a.shape)}"
            )
        wide = (
            key_padding_mask.reshape(n, 1, 1, source)
            .expand(-1, num_heads, -1, -1)
            .reshape(n * num_heads, 1, source)
        )
        attn_mask = wide if attn_mask is None else attn_mask + wide
    p = dropout_p if training else 0.0
    if need_weights:
        y, weights = _with_weights(q, k, v, attn_mask, p)
    else:
        mask = None
        if attn_mask is not None:
            heads = num_heads if attn_mask._a.shape[0] == n * num_heads else 1
            mask = attn_mask.reshape(-1, heads, *attn_mask._a.shape[1:])
        split = [x.reshape(n, num_heads, -1, size) for x in (q, k, v)]
        y = scaled_dot_product_attention(split[0], split[1], split[2], mask, p)
        y, weights = y.reshape(n * num_heads, length, size), None
    y = y.transpose(0, 1).reshape(length * n, e)
    y = linear(y, out_proj_weight, out_proj_bias).reshape(length, n, -1)
    if weights is not None:
        weights = weights.reshape(n, num_heads, length, source)
        weights = weights.mean(1) if average_attn_weights else weights
        weights = weights.squeeze(0) if single else weights
    return (y.squeeze(1) if single else y), weights


def _wider(mask: Any) -> Any:
    """A mask with one more key that everybody may attend to."""
    return None if mask is None else cat([mask, mask.new_zeros(*mask._a.shape[:-1], 1)], -1)


def _with_weights(q: Tensor, k: Tensor, v: Tensor, mask: Any, p: float) -> tuple[Tensor, Any]:
    scores = matmul_(q * math.sqrt(1.0 / q._a.shape[-1]), k.transpose(-2, -1))
    weights: Tensor = softmax(scores if mask is None else scores + mask, -1)
    if p > 0.0:
        weights = drop(weights, p, True)
    return matmul_(weights, v), weights


__all__: list[str] = []
NN = ["multi_head_attention_forward", "scaled_dot_product_attention"]
publish(globals())
