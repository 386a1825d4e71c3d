"""Recurrent layers: one operator per layer and direction, over all time steps.

The input's product with its weights is one GEMM for all steps; the recurrence is a loop over steps in
the kernel, with a backward written by hand. Shapes: x [T, B, I], h [B, H], gates [T, B, k H].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor
from .join import cat, stack
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
def _lstm(x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any, reverse: bool) -> Any:
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


def _shared(d_gates: Any, x: Any, h0: Any, w_ih: Any, output: Any, order: Any, b_ih: Any, want: Any, first: Any) -> Any:
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
    x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, w_hr: Any = None, *, reverse: bool = False
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


def _gru_cpu(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, *, reverse: bool = False) -> Any:
    if not has("gru_layer") or not fits(x, h, w_ih, w_hh, b_ih, b_hh):
        return gru_layer_generic(x, h, w_ih, w_hh, b_ih, b_hh, reverse=reverse)
    out, saved = fast.gru_layer(_projected(x, w_ih, b_ih), w_hh, b_hh, h, reverse)
    return out, out[0 if reverse else -1].copy(), saved, None


def _gru_backward(
    g: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, output: Any, gates: Any, news: Any, reverse: bool, want: Any
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


def _gru_sums(d_in: Any, d_rec: Any, dh: Any, x: Any, h0: Any, w_ih: Any, output: Any, order: Any, b_ih: Any, want: Any) -> Any:
    """Gradients of the weights: the new gate's recurrent part has one of its own."""
    gx, dh, gw_ih, _, gb_ih, _ = _shared(d_in, x, h0, w_ih, output, order, b_ih, want, (dh,))
    _, _, _, gw_hh, _, gb_hh = _shared(d_rec, x, h0, w_ih, output, order, b_ih, (False,), (None,))
    return gx, dh, gw_ih, gw_hh, gb_ih, gb_hh


def gru_formula(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, *, reverse: bool = False) -> Any:
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
def _rnn(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, relu: bool, reverse: bool) -> Any:
    inputs = _projected(x, w_ih, None if b_ih is None else b_ih + b_hh)
    out, back = xp.empty((x.shape[0], *h.shape), x.dtype), w_hh.T
    for t in _steps(x.shape[0], reverse):
        a = inputs[t] + xp.matmul(h, back)
        h = xp.maximum(a, 0) if relu else xp.tanh(a)
        out[t] = h
    return out, h.copy()


def _rnn_backward(g: Any, x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, output: Any, relu: bool, reverse: bool, want: Any) -> Any:
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


def rnn_formula(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, *, relu: bool = False, reverse: bool = False) -> Any:
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


# ---- whole networks -----------------------------------------------------------------------------------
def _layers(
    run: Any, x: Tensor, states: Sequence[Tensor], weights: Any, per: int, num_layers: int, dropout: float, training: bool,
    bidirectional: bool,
) -> Any:  # fmt: skip
    """Stack layers and directions over [T, B, I]; the states' first dimension is layers * directions."""
    from .random import dropout as drop

    dirs, finals = 2 if bidirectional else 1, []
    for layer in range(num_layers):
        outs = []
        for d in range(dirs):
            k = layer * dirs + d
            w = list(weights[k * per : (k + 1) * per])
            out, *last = run(x, [s[k] for s in states], w, d == 1)
            outs.append(out)
            finals.append(last)
        x = outs[0] if dirs == 1 else cat(outs, 2)
        if dropout and training and layer < num_layers - 1:
            x = drop(x, dropout, True)
    return x, [stack([f[i] for f in finals], 0) for i in range(len(states))]


def _named(w: list[Any], has_biases: bool, projected: bool) -> tuple[list[Any], Any]:
    """Weights of one layer and direction in the operator's order."""
    w_hr = w.pop() if projected else None
    return (w if has_biases else [*w[:2], None, None]), w_hr


def _network(run: Any, args: Any) -> Any:
    """The two call forms of PyTorch's recurrent functions: padded and packed sequences."""
    if isinstance(args[3], (list, tuple)):  # data, batch_sizes, hx, flat_weights, ...
        data, batch_sizes, hx, weights, has_biases, num_layers, dropout, training, bidirectional = args
        return _packed(run, data, batch_sizes, hx, weights, has_biases, num_layers, dropout, training, bidirectional)
    x, hx, weights, has_biases, num_layers, dropout, training, bidirectional, batch_first = args
    hx = [hx] if isinstance(hx, Tensor) else list(hx)
    if batch_first:
        x = x.transpose(0, 1)
    for s in hx:
        if s._a.dtype != x._a.dtype:
            raise ShapeError(f"Input and hidden tensors are not the same dtype, found input tensor with {x.dtype} and hidden tensor with {s.dtype}")
    projected = len(hx) == 2 and hx[0]._a.shape[-1] != hx[1]._a.shape[-1]
    per = (4 if has_biases else 2) + projected
    y, finals = _layers(_bound(run, has_biases, projected), x, hx, weights, per, num_layers, dropout, training, bidirectional)
    return (y.transpose(0, 1) if batch_first else y, *finals)


def _bound(run: Any, has_biases: bool, projected: bool) -> Any:
    def step(x: Tensor, states: Any, w: list[Any], reverse: bool) -> Any:
        named, w_hr = _named(w, has_biases, projected)
        return run(x, states, named, w_hr, reverse)

    return step


def _packed(run: Any, data: Tensor, batch_sizes: Tensor, hx: Any, weights: Any, has_biases: bool, num_layers: int, dropout: float, training: bool, bidirectional: bool) -> Any:
    """Packed sequences: each time step has as many rows as sequences are still running."""
    from .random import dropout as drop

    hx = [hx] if isinstance(hx, Tensor) else list(hx)
    sizes = batch_sizes.tolist()
    projected = len(hx) == 2 and hx[0]._a.shape[-1] != hx[1]._a.shape[-1]
    per, dirs, finals = (4 if has_biases else 2) + projected, 2 if bidirectional else 1, []
    step = _bound(run, has_biases, projected)
    for layer in range(num_layers):
        outs = []
        for d in range(dirs):
            k = layer * dirs + d
            w = list(weights[k * per : (k + 1) * per])
            out, last = _packed_layer(step, data, sizes, [s[k] for s in hx], w, d == 1)
            outs.append(out)
            finals.append(last)
        data = outs[0] if dirs == 1 else cat(outs, 1)
        if dropout and training and layer < num_layers - 1:
            data = drop(data, dropout, True)
    return (data, *[stack([f[i] for f in finals], 0) for i in range(len(hx))])


def _packed_layer(step: Any, data: Tensor, sizes: list[int], states: list[Any], w: list[Any], reverse: bool) -> Any:
    starts = np.cumsum([0, *sizes]).tolist()
    outs: list[Any] = [None] * len(sizes)
    full, active = states, sizes[-1] if reverse else sizes[0]
    states = [s[:active] for s in full]
    done: list[Any] = []
    for t in _steps(len(sizes), reverse):
        n = sizes[t]
        if n < active:  # sequences that have ended keep their last state
            done.append([s[n:] for s in states])
            states = [s[:n] for s in states]
        elif n > active:  # running backwards, longer sequences come first
            states = [cat([s, f[active:n]], 0) for s, f in zip(states, full, strict=True)]
        active = n
        out, *states = step(data[starts[t] : starts[t + 1]].unsqueeze(0), states, list(w), False)
        outs[t] = out.squeeze(0)
    last = [cat([s, *[d[i] for d in done[::-1]]], 0) for i, s in enumerate(states)]
    return cat(outs, 0), last


def lstm(*args: Any) -> Any:
    """LSTM over padded or packed sequences: output, h_n, c_n."""
    return _network(lambda x, s, w, w_hr, reverse: lstm_layer(x, s[0], s[1], *w, w_hr, reverse=reverse), args)


def gru(*args: Any) -> Any:
    """GRU over padded or packed sequences: output, h_n."""
    return _network(lambda x, s, w, w_hr, reverse: gru_layer(x, s[0], *w, reverse=reverse), args)


def rnn_tanh(*args: Any) -> Any:
    """A tanh network over padded or packed sequences: output, h_n."""
    return _network(lambda x, s, w, w_hr, reverse: rnn_layer(x, s[0], *w, relu=False, reverse=reverse), args)


def rnn_relu(*args: Any) -> Any:
    """A relu network over padded or packed sequences: output, h_n."""
    return _network(lambda x, s, w, w_hr, reverse: rnn_layer(x, s[0], *w, relu=True, reverse=reverse), args)


# ---- cells -----------------------------------------------------------------------------------------------
def lstm_cell(input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: input [B, I], (h, c) [B, H]."""
    _, h, c = lstm_layer(input.unsqueeze(0), hx[0], hx[1], w_ih, w_hh, b_ih, b_hh, None, reverse=False)
    return h, c


def gru_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    """One step of a GRU."""
    h: Tensor = gru_layer(input.unsqueeze(0), hx, w_ih, w_hh, b_ih, b_hh, reverse=False)[1]
    return h


def rnn_tanh_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    """One step of a tanh network."""
    h: Tensor = (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).tanh()
    return h


def rnn_relu_cell(input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    """One step of a relu network."""
    h: Tensor = (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).relu()
    return h


__all__ = ["gru", "gru_cell", "lstm", "lstm_cell", "rnn_relu", "rnn_relu_cell", "rnn_tanh", "rnn_tanh_cell"]
publish(globals())
