"""Recurrent networks: layers and directions stacked over padded and packed sequences, and cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..tensor import Tensor
from .join import cat, stack
from .linalg import linear
from .recurrent import _steps, gru_layer, lstm_layer, rnn_layer
from .registry import publish


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
        data, batch_sizes, hx, weights, has_biases, num_layers, dropout, training, bidirectional = (
            args
        )
        return _packed(
            run,
            data,
            batch_sizes,
            hx,
            weights,
            has_biases,
            num_layers,
            dropout,
            training,
            bidirectional,
        )
    x, hx, weights, has_biases, num_layers, dropout, training, bidirectional, batch_first = args
    hx = [hx] if isinstance(hx, Tensor) else list(hx)
    if batch_first:
        x = x.transpose(0, 1)
    for s in hx:
        if s._a.dtype != x._a.dtype:
            raise ShapeError(
                f"Input and hidden tensors are not the same dtype, found input tensor with {x.dtype} and hidden tensor with {s.dtype}"
            )
    projected = len(hx) == 2 and hx[0]._a.shape[-1] != hx[1]._a.shape[-1]
    per = (4 if has_biases else 2) + projected
    y, finals = _layers(
        _bound(run, has_biases, projected),
        x,
        hx,
        weights,
        per,
        num_layers,
        dropout,
        training,
        bidirectional,
    )
    return (y.transpose(0, 1) if batch_first else y, *finals)


def _bound(run: Any, has_biases: bool, projected: bool) -> Any:
    def step(x: Tensor, states: Any, w: list[Any], reverse: bool) -> Any:
        named, w_hr = _named(w, has_biases, projected)
        return run(x, states, named, w_hr, reverse)

    return step


def _packed(
    run: Any,
    data: Tensor,
    batch_sizes: Tensor,
    hx: Any,
    weights: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
) -> Any:
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


def _packed_layer(
    step: Any, data: Tensor, sizes: list[int], states: list[Any], w: list[Any], reverse: bool
) -> Any:
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
    return _network(
        lambda x, s, w, w_hr, reverse: lstm_layer(x, s[0], s[1], *w, w_hr, reverse=reverse), args
    )


def gru(*args: Any) -> Any:
    """GRU over padded or packed sequences: output, h_n."""
    return _network(lambda x, s, w, w_hr, reverse: gru_layer(x, s[0], *w, reverse=reverse), args)


def rnn_tanh(*args: Any) -> Any:
    """A tanh network over padded or packed sequences: output, h_n."""
    return _network(
        lambda x, s, w, w_hr, reverse: rnn_layer(x, s[0], *w, relu=False, reverse=reverse), args
    )


def rnn_relu(*args: Any) -> Any:
    """A relu network over padded or packed sequences: output, h_n."""
    return _network(
        lambda x, s, w, w_hr, reverse: rnn_layer(x, s[0], *w, relu=True, reverse=reverse), args
    )


# ---- cells -----------------------------------------------------------------------------------------------
def lstm_cell(
    input: Tensor, hx: Any, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> tuple[Tensor, Tensor]:
    """One step of an LSTM: input [B, I], (h, c) [B, H]."""
    _, h, c = lstm_layer(
        input.unsqueeze(0), hx[0], hx[1], w_ih, w_hh, b_ih, b_hh, None, reverse=False
    )
    return h, c


def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """One step of a GRU."""
    h: Tensor = gru_layer(input.unsqueeze(0), hx, w_ih, w_hh, b_ih, b_hh, reverse=False)[1]
    return h


def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """One step of a tanh network."""
    h: Tensor = (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).tanh()
    return h


def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """One step of a relu network."""
    h: Tensor = (linear(input, w_ih, b_ih) + linear(hx, w_hh, b_hh)).relu()
    return h


__all__ = [
    "gru",
    "gru_cell",
    "lstm",
    "lstm_cell",
    "rnn_relu",
    "rnn_relu_cell",
    "rnn_tanh",
    "rnn_tanh_cell",
]
publish(globals())
