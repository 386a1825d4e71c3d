"""Recurrent cells: one step of RNN, LSTM and GRU."""

import math
from typing import Any

from distrib.nn import init
from distrib.nn.modules.module import Module
from distrib.nn.modules.utils import empty
from distrib.nn.parameter import Parameter
from distrib.ops import rnn as _ops
from distrib.tensor import Tensor

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]


class RNNCellBase(Module):
    """What the cells share: weights, checks, and the way to a batch and back."""

    __constants__ = ["input_size", "hidden_size", "bias"]
    nonlinearity: str
    weight_ih: Tensor
    weight_hh: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias

        def parameter(*shape: int) -> Parameter:
            return Parameter(empty(shape, device=device, dtype=dtype))

        gate_size = num_chunks * hidden_size
        self.weight_ih = parameter(gate_size, input_size)
        self.weight_hh = parameter(gate_size, hidden_size)
        if bias:
            self.bias_ih = parameter(gate_size)
            self.bias_hh = parameter(gate_size)
        else:
            self.register_parameter("bias_ih", None)
            self.register_parameter("bias_hh", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw everything from U(-k, k), k = 1 / sqrt(hidden_size)."""
        k = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -k, k)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _check_dim(self, tensor: Tensor, what: str) -> None:
        if tensor.dim() not in (1, 2):
            raise ValueError(
                f"{self._get_name()}: Expected {what} to be 1D or 2D, got {tensor.dim()}D instead"
            )

    def _check_sizes(self, input: Tensor, states: tuple[Tensor, ...]) -> None:
        if input.size(1) != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.size(1)} expected {self.input_size}"
            )
        for i, state in enumerate(states):
            if input.size(0) != state.size(0):
                raise RuntimeError(
                    f"Input batch size {input.size(0)} doesn't match hidden{i} batch size "
                    f"{state.size(0)}"
                )
            if state.size(1) != self.hidden_size:
                raise RuntimeError(
                    f"hidden{i} has inconsistent hidden_size: got {state.size(1)}, "
                    f"expected {self.hidden_size}"
                )

    def _batch(
        self, input: Tensor, states: tuple[Tensor, ...] | None, num_states: int
    ) -> tuple[Any, tuple[Any, ...]]:
        """Input and states with a batch dimension, checked; absent states are zeros."""
        single = input.dim() == 1
        batched: Any = input.unsqueeze(0) if single else input
        if states is None:
            zeros = batched.new_zeros((batched.size(0), self.hidden_size))
            wide: tuple[Any, ...] = (zeros,) * num_states
        else:
            wide = tuple(s.unsqueeze(0) for s in states) if single else states
        self._check_sizes(batched, wide)
        return batched, wide

    def _weights(self) -> tuple[Any, Any, Any, Any]:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh


class RNNCell(RNNCellBase):
    """One step of an Elman network over (N, input_size) or (input_size)."""

    __constants__ = ["input_size", "hidden_size", "bias", "nonlinearity"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        self._check_dim(input, "input")
        if hx is not None:
            self._check_dim(hx, "hidden")
        batched, (state,) = self._batch(input, None if hx is None else (hx,), 1)
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        cell = _ops.rnn_tanh_cell if self.nonlinearity == "tanh" else _ops.rnn_relu_cell
        result: Any = cell(batched, state, *self._weights())
        return result.squeeze(0) if input.dim() == 1 else result


class LSTMCell(RNNCellBase):
    """One step of a long short-term memory; returns (h, c)."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, Any]:
        self._check_dim(input, "input")
        if hx is not None:
            for i, state in enumerate(hx):
                self._check_dim(state, f"hx[{i}]")
        batched, states = self._batch(input, hx, 2)
        h, c = _ops.lstm_cell(batched, states, *self._weights())
        return (h.squeeze(0), c.squeeze(0)) if input.dim() == 1 else (h, c)


class GRUCell(RNNCellBase):
    """One step of a gated recurrent unit."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Any:
        self._check_dim(input, "input")
        if hx is not None:
            self._check_dim(hx, "hidden")
        batched, (state,) = self._batch(input, None if hx is None else (hx,), 1)
        result: Any = _ops.gru_cell(batched, state, *self._weights())
        return result.squeeze(0) if input.dim() == 1 else result
