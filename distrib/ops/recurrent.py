"""Recurrent layers: one operator per layer and direction, over all time steps.

The input's product with its weights is one GEMM for all steps; the recurrence is a loop over steps in
the kernel, with a backward written by hand. Shapes: x [T, B, I], h [B, H], gates [T, B, k H].
"""

from __future__ import annotations

from typing import Any

from .join import stack
from .linalg import linear
from .native import fast, fits, has
from .registry import composite, publish
from .shape import _a

xp: Any = None  # bound per array type
lstm_layer_generic: Any = None  # the NumPy forms, bound beside the compiled ones
gru_layer_generic: Any = None


def _sigmoid(x: Any) -> Any:
    y = xp.exp(-x)
    y += 1
    return xp.reciprocal(y)


def _steps(n: int, reverse: bool) -> Any:
    return range(n - 1, -1, -1) if reverse else range(n)


def _projected(x: Any, w: Any, b: Any) -> Any:
    y = xp.matmul(x.reshape(-1, x.shape[-1]), w.T)
    if b is not None:
        y += b
    return y.reshape(*x.shape[:-1], w.shape[0])


# ---- LSTM -----------------------------------------------------------------------------------------
def _lstm(
    x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, reverse: bool
) -> Any:
    gates = _projected(x, w_ih, None if b_ih is None else b_ih + b_hh)
    n, size = x.shape[0], w_hh.shape[0] // 4
    cells = xp.empty((n, x.shape[1], size), x.dtype)
    tanhs = xp.empty_like(cells)
    out = xp.empty((n, x.shape[1], h.shape[1]), x.dtype)
    back = w_hh.T
    for t in _steps(n, reverse):
        g = gates[t]
        g += xp.matmul(h, back)
        g[:, : 2 * size] = _sigmoid(g[:, : 2 * size])
        g[:, 2 * size : 3 * size] = xp.tanh(g[:, 2 * size : 3 * size])
        g[:, 3 * size :] = _sigmoid(g[:, 3 * size :])
        c = g[:, size : 2 * size] * c + g[:, :size] * g[:, 2 * size : 3 * size]
        cells[t] = c
        tanhs[t] = xp.tanh(c)
        h = g[:, 3 * size :] * tanhs[t]
        if w_hr is not None:
            h = xp.matmul(h, w_hr.T)
        out[t] = h
    return out, h.copy(), c.copy(), gates, cells, tanhs


def _lstm_cpu(
    x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, w_hr: Any = None, *, reverse: bool = False
) -> Any:  # fmt: skip
    if w_hr is not None or not has("lstm_layer") or not fits(x, h, c, w_ih, w_hh, b_ih, b_hh):
        return lstm_layer_generic(x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, reverse=reverse)
    gates = _projected(x, w_ih, None if b_ih is None else b_ih + b_hh)
    out, cells, gates = fast.lstm_layer(gates, w_hh, h, c, reverse)
    last = 0 if reverse else -1
    return out, out[last].copy(), cells[last].copy(), gates, cells, None


def _lstm_backward(
    g: Any, x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any, w_hr: Any, output: Any, gates: Any, cells: Any,
    tanhs: Any, reverse: bool, want: Any,
) -> Any:  # fmt: skip
    gy, gh, gc = g
    n, size = x.shape[0], w_hh.shape[0] // 4
    if tanhs is None:  # the compiled form
        d_gates, dh, dc = fast.lstm_layer_grad(gy, gh, gc, gates, cells, c0, w_hh, reverse)
        order = list(_steps(n, reverse))
        return (*_shared(d_gates, x, h0, w_ih, output, order, b_ih, want, (dh, dc)), None)
    dh = xp.zeros_like(h0) if gh is None else gh.copy()
    dc = xp.zeros_like(c0) if gc is None else gc.copy()
    d_gates, d_hr = xp.empty_like(gates), None
    if w_hr is not None:
        d_hr = xp.zeros_like(w_hr)
    order = list(_steps(n, reverse))
    for k in range(n - 1, -1, -1):
        t = order[k]
        before_c = c0 if k == 0 else cells[order[k - 1]]
        if gy is not None:
            dh = dh + gy[t]
        a = gates[t]
        i, f, u, o = a[:, :size], a[:, size : 2 * size], a[:, 2 * size : 3 * size], a[:, 3 * size :]
        if w_hr is not None:
            d_hr += xp.matmul(dh.T, o * tanhs[t])
            dh = xp.matmul(dh, w_hr)
        dc = dc + dh * o * (1 - tanhs[t] * tanhs[t])
        d = d_gates[t]
        d[:, :size] = dc * u * i * (1 - i)
        d[:, size : 2 * size] = dc * before_c * f * (1 - f)
        d[:, 2 * size : 3 * size] = dc * i * (1 - u * u)
        d[:, 3 * size :] = dh * tanhs[t] * o * (1 - o)
        dc = dc * f
        dh = xp.matmul(d, w_hh)
    return (*_shared(d_gates, x, h0, w_ih, output, order, b_ih, want, (dh, dc)), d_hr)


def _shared(
    d_gates: Any,
    x: Any,
    h0: Any,
    w_ih: Any,
    output: Any,
    order: Any,
    b_ih: Any,
    want: Any,
    first: Any,
) -> Any:
    """What all cells have in common: gradients of input, weights and biases from those of the gates."""
    flat = d_gates.reshape(-1, d_gates.shape[-1])
    gx = xp.matmul(flat, w_ih).reshape(x.shape) if want[0] else None
    before = xp.empty((len(order), *h0.shape), h0.dtype)
    for k, t in enumerate(order):
        before[t] = h0 if k == 0 else output[order[k - 1]]
    gw_ih = xp.matmul(flat.T, x.reshape(-1, x.shape[-1]))
    gw_hh = xp.matmul(flat.T, before.reshape(-1, h0.shape[-1]))
    gb = None if b_ih is None else xp.add.reduce(flat, 0)
    return gx, *first, gw_ih, gw_hh, gb, gb


def lstm_formula(
    x: Any,
    h: Any,
    c: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    w_hr: Any = None,
    *,
    reverse: bool = False,
) -> Any:
    """An LSTM layer step by step in differentiable operators."""
    outs: list[Any] = [None] * x._a.shape[0]
    for t in _steps(x._a.shape[0], reverse):
        i, f, u, o = (linear(x[t], w_ih, b_ih) + linear(h, w_hh, b_hh)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * u.tanh()
        h = o.sigmoid() * c.tanh()
        if w_hr is not None:
            h = linear(h, w_hr)
        outs[t] = h
    return stack(outs, 0), h, c


lstm_layer = composite(
    "lstm_layer", lstm_formula,
    lambda x, h, c, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, *, reverse=False: _lstm(
        x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, reverse),
    lambda g, x, h, c, w_ih, w_hh, b_ih, w_hr, output, gates, cells, tanhs, reverse, want: _lstm_backward(
        g, x, h, c, w_ih, w_hh, b_ih, w_hr, output, gates, cells, tanhs, reverse, want),
    cpu=_lstm_cpu, outputs=("output", "hn", "cn"), keeps=("gates", "cells", "tanhs"), rule="math", method=False,
    grad_name="LstmBackward0", onnx="LSTM",
    samples=lambda: [((_a(3, 2, 3) * 0.3, _a(2, 2) * 0.3, _a(2, 2) * 0.5, _a(8, 3) * 0.2, _a(8, 2) * 0.2, _a(8) * 0.1,
                       _a(8) * 0.2), {"reverse": True})],
)  # fmt: skip


# ---- GRU ----------------------------------------------------------------------------------------------
def _gru(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, reverse: bool) -> Any:
    inputs = _projected(x, w_ih, b_ih)
    n, size = x.shape[0], h.shape[1]
    gates, news = xp.empty_like(inputs), xp.empty((n, *h.shape), x.dtype)
    out, back = xp.empty((n, *h.shape), x.dtype), w_hh.T
    for t in _steps(n, reverse):
        rec = xp.matmul(h, back)
        if b_hh is not None:
            rec += b_hh
        rz = _sigmoid(inputs[t, :, : 2 * size] + rec[:, : 2 * size])
        news[t] = rec[:, 2 * size :]
        new = xp.tanh(inputs[t, :, 2 * size :] + rz[:, :size] * news[t])
        gates[t, :, : 2 * size], gates[t, :, 2 * size :] = rz, new
        h = new + rz[:, size:] * (h - new)
        out[t] = h
    return out, h.copy(), gates, news


def _gru_cpu(
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    *,
    reverse: bool = False,
) -> Any:
    if not has("gru_layer") or not fits(x, h, w_ih, w_hh, b_ih, b_hh):
        return gru_layer_generic(x, h, w_ih, w_hh, b_ih, b_hh, reverse=reverse)
    out, saved = fast.gru_layer(_projected(x, w_ih, b_ih), w_hh, b_hh, h, reverse)
    return out, out[0 if reverse else -1].copy(), saved, None


def _gru_backward(
    g: Any,
    x: Any,
    h0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    output: Any,
    gates: Any,
    news: Any,
    reverse: bool,
    want: Any,
) -> Any:
    gy, gh = g
    n, size = x.shape[0], h0.shape[1]
    order = list(_steps(n, reverse))
    if news is None:  # the compiled form
        d_in, d_rec, dh = fast.gru_layer_grad(gy, gh, gates, output, h0, w_hh, reverse)
        return _gru_sums(d_in, d_rec, dh, x, h0, w_ih, output, order, b_ih, want)
    dh = xp.zeros_like(h0) if gh is None else gh.copy()
    d_in, d_rec = xp.empty_like(gates), xp.empty_like(gates)
    for k in range(n - 1, -1, -1):
        t = order[k]
        before = h0 if k == 0 else output[order[k - 1]]
        if gy is not None:
            dh = dh + gy[t]
        r, z, new = gates[t, :, :size], gates[t, :, size : 2 * size], gates[t, :, 2 * size :]
        d_new = dh * (1 - z) * (1 - new * new)
        d_in[t, :, :size] = d_new * news[t] * r * (1 - r)
        d_in[t, :, size : 2 * size] = dh * (before - new) * z * (1 - z)
        d_in[t, :, 2 * size :] = d_new
        d_rec[t] = d_in[t]
        d_rec[t, :, 2 * size :] = d_new * r
        dh = dh * z + xp.matmul(d_rec[t], w_hh)
    return _gru_sums(d_in, d_rec, dh, x, h0, w_ih, output, order, b_ih, want)


def _gru_sums(
    d_in: Any,
    d_rec: Any,
    dh: Any,
    x: Any,
    h0: Any,
    w_ih: Any,
    output: Any,
    order: Any,
    b_ih: Any,
    want: Any,
) -> Any:
    """Gradients of the weights: the new gate's recurrent part has one of its own."""
    gx, dh, gw_ih, _, gb_ih, _ = _shared(d_in, x, h0, w_ih, output, order, b_ih, want, (dh,))
    _, _, _, gw_hh, _, gb_hh = _shared(d_rec, x, h0, w_ih, output, order, b_ih, (False,), (None,))
    return gx, dh, gw_ih, gw_hh, gb_ih, gb_hh


def gru_formula(
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    *,
    reverse: bool = False,
) -> Any:
    """A GRU layer step by step in differentiable operators."""
    outs: list[Any] = [None] * x._a.shape[0]
    for t in _steps(x._a.shape[0], reverse):
        ir, iz, inew = linear(x[t], w_ih, b_ih).chunk(3, 1)
        hr, hz, hnew = linear(h, w_hh, b_hh).chunk(3, 1)
        r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
        new = (inew + r * hnew).tanh()
        h = new + z * (h - new)
        outs[t] = h
    return stack(outs, 0), h


gru_layer = composite(
    "gru_layer", gru_formula,
    lambda x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, reverse=False: _gru(x, h, w_ih, w_hh, b_ih, b_hh, reverse),
    lambda g, x, h, w_ih, w_hh, b_ih, output, gates, news, reverse, want: _gru_backward(
        g, x, h, w_ih, w_hh, b_ih, output, gates, news, reverse, want),
    cpu=_gru_cpu, outputs=("output", "hn"), keeps=("gates", "news"), rule="math", method=False, grad_name="GruBackward0", onnx="GRU",
    samples=lambda: [((_a(3, 2, 3) * 0.3, _a(2, 2) * 0.3, _a(6, 3) * 0.2, _a(6, 2) * 0.2, _a(6) * 0.1, _a(6) * 0.2), {})],
)  # fmt: skip


# ---- plain recurrent layers ---------------------------------------------------------------------------
def _rnn(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, relu: bool, reverse: bool
) -> Any:
    inputs = _projected(x, w_ih, None if b_ih is None else b_ih + b_hh)
    out, back = xp.empty((x.shape[0], *h.shape), x.dtype), w_hh.T
    for t in _steps(x.shape[0], reverse):
        a = inputs[t] + xp.matmul(h, back)
        h = xp.maximum(a, 0) if relu else xp.tanh(a)
        out[t] = h
    return out, h.copy()


def _rnn_backward(
    g: Any,
    x: Any,
    h0: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    output: Any,
    relu: bool,
    reverse: bool,
    want: Any,
) -> Any:
    gy, gh = g
    dh = xp.zeros_like(h0) if gh is None else gh.copy()
    d, order = xp.empty_like(output), list(_steps(x.shape[0], reverse))
    for k in range(len(order) - 1, -1, -1):
        t = order[k]
        if gy is not None:
            dh = dh + gy[t]
        d[t] = dh * (output[t] > 0) if relu else dh * (1 - output[t] * output[t])
        dh = xp.matmul(d[t], w_hh)
    return _shared(d, x, h0, w_ih, output, order, b_ih, want, (dh,))


def rnn_formula(
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    *,
    relu: bool = False,
    reverse: bool = False,
) -> Any:
    """A plain recurrent layer step by step in differentiable operators."""
    outs: list[Any] = [None] * x._a.shape[0]
    for t in _steps(x._a.shape[0], reverse):
        a = linear(x[t], w_ih, b_ih) + linear(h, w_hh, b_hh)
        h = a.relu() if relu else a.tanh()
        outs[t] = h
    return stack(outs, 0), h


rnn_layer = composite(
    "rnn_layer", rnn_formula,
    lambda x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, relu=False, reverse=False: _rnn(
        x, h, w_ih, w_hh, b_ih, b_hh, relu, reverse),
    lambda g, x, h, w_ih, w_hh, b_ih, output, relu, reverse, want: _rnn_backward(
        g, x, h, w_ih, w_hh, b_ih, output, relu, reverse, want),
    outputs=("output", "hn"), rule="math", method=False, grad_name="RnnBackward0", onnx="RNN",
    samples=lambda: [((_a(3, 2, 3) * 0.3, _a(2, 2) * 0.3, _a(2, 3) * 0.2, _a(2, 2) * 0.2, _a(2) * 0.1, _a(2) * 0.2), {})],
)  # fmt: skip


publish(globals())
