"""Packed and padded sequences."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self

import numpy as np

from distrib.devices import to_host
from distrib.dtypes import Array
from distrib.ops.join import cat
from distrib.tensor import Tensor, wrap

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence_(NamedTuple):
    """The fields of a PackedSequence."""

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(PackedSequence_):
    """Sequences of different lengths, time step after time step, longest sequence first.

    `batch_sizes` (int64, on the CPU) says how many sequences reach each step.
    """

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        if batch_sizes is None:
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never "
                "be created "
                "manually. They should be instantiated by functions like pack_sequence and "
                "pack_padded_sequences in nn.utils.rnn. "
                "https://pytorch.org/docs/stable/nn.html#torch.nn.utils.rnn.pack_sequence"
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def _map(self, fn: Callable[[Any], Any]) -> Self:
        data = fn(self.data)
        if data is self.data:
            return self

        def follow(indices: Any) -> Any:
            return None if indices is None else indices.to(data.device)

        return type(self)(
            data, self.batch_sizes, follow(self.sorted_indices), follow(self.unsorted_indices)
        )

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast the data; the indices follow to the device."""
        return self._map(lambda t: t.to(*args, **kwargs))

    def cuda(self, *args: Any, **kwargs: Any) -> Self:
        """Move to a GPU."""
        return self._map(lambda t: t.cuda(*args, **kwargs))

    def cpu(self, *args: Any, **kwargs: Any) -> Self:
        """Move to the CPU."""
        return self._map(lambda t: t.cpu())

    def pin_memory(self) -> Self:
        """Move into page-locked memory."""
        return self._map(lambda t: t.pin_memory())

    def double(self) -> Self:
        """Cast to float64."""
        return self._map(lambda t: t.double())

    def float(self) -> Self:
        """Cast to float32."""
        return self._map(lambda t: t.float())

    def half(self) -> Self:
        """Cast to float16."""
        return self._map(lambda t: t.half())

    def long(self) -> Self:
        """Cast to int64."""
        return self._map(lambda t: t.long())

    def int(self) -> Self:
        """Cast to int32."""
        return self._map(lambda t: t.int())

    def short(self) -> Self:
        """Cast to int16."""
        return self._map(lambda t: t.short())

    def char(self) -> Self:
        """Cast to int8."""
        return self._map(lambda t: t.char())

    def byte(self) -> Self:
        """Cast to uint8."""
        return self._map(lambda t: t.byte())

    @property
    def is_cuda(self) -> bool:
        """Whether the data lies on a GPU."""
        return self.data.is_cuda

    def is_pinned(self) -> bool:
        """Whether the data lies in page-locked memory."""
        return bool(self.data.is_pinned())


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes another one; None for None."""
    if permutation is None:
        return None
    order = to_host(permutation._a)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order), dtype=order.dtype)
    result: Tensor = wrap(inverse).to(permutation.device)
    return result


def _lengths(lengths: Any) -> Array:
    if not isinstance(lengths, Tensor):
        return np.asarray(lengths, dtype=np.int64)
    if lengths.dim() != 1 or lengths.device.type != "cpu":
        raise RuntimeError(
            "'lengths' argument should be a 1D CPU int64 tensor, but got "
            f"{lengths.dim()}D {lengths.device.type} {lengths.dtype} tensor"
        )
    return lengths._a.astype(np.int64)


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack padded sequences (T, B, ...) or (B, T, ...) of the given lengths."""
    sizes = _lengths(lengths)
    order: Tensor | None = None
    if not enforce_sorted:
        raw = np.argsort(-sizes, kind="stable").astype(np.int64)
        sizes = sizes[raw]
        order = wrap(raw).to(input.device)
        input = input.index_select(0 if batch_first else 1, order)
    batch = input.size(0 if batch_first else 1)
    if len(sizes) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} "
            f"(batch_size={batch})"
        )
    if batch == 0:
        raise RuntimeError("Cannot pack empty tensors.")
    if sizes.min() <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' "
            "that is <= 0"
        )
    if (np.diff(sizes) > 0).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
            "You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep "
            "this requirement "
            "if you do not need ONNX exportability."
        )
    if batch_first:
        input = input.transpose(0, 1)
    steps = np.arange(sizes[0])
    batch_sizes = (sizes[None, :] > steps[:, None]).sum(1).astype(np.int64)
    if sizes[0] > input.size(0):
        raise RuntimeError(
            f"Expected all lengths to be at most the padded length, but got {int(sizes[0])} "
            f"(padded length {input.size(0)})"
        )
    runs = []  # steps that the same number of sequences reach are one slice
    start = 0
    for step in range(1, len(batch_sizes) + 1):
        if step == len(batch_sizes) or batch_sizes[step] != batch_sizes[start]:
            part = input[start:step, : int(batch_sizes[start])]
            runs.append(part.flatten(0, 1))
            start = step
    data = runs[0] if len(runs) == 1 else cat(runs)
    return PackedSequence(data, wrap(batch_sizes), order, None)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Any, Tensor]:
    """(padded sequences, lengths); ValueError if `total_length` is too short."""
    batch_sizes = sequence.batch_sizes._a
    steps = len(batch_sizes)
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in "
                "input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    data: Any = sequence.data
    batch = int(batch_sizes[0])
    lengths = (batch_sizes[None, :] > np.arange(batch)[:, None]).sum(1).astype(np.int64)
    rest = data.shape[1:]
    padded = data.new_full((steps, batch, *rest), padding_value)
    # One scatter of rows: step t, sequence b stands at row t * batch + b.
    step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    within = np.arange(len(step)) - np.repeat(np.cumsum(batch_sizes) - batch_sizes, batch_sizes)
    rows = wrap((step * batch + within).astype(np.int64)).to(data.device)
    padded = padded.flatten(0, 1).index_copy(0, rows, data).unflatten(0, (steps, batch))
    if batch_first:
        padded = padded.transpose(0, 1)
    order = sequence.unsorted_indices
    if order is not None:
        padded = padded.index_select(0 if batch_first else 1, order)
        lengths = lengths[to_host(order._a)]
    return padded, wrap(lengths)


def pad_sequence(
    sequences: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Any:
    """Stack sequences (T_i, ...) of different lengths into (T, B, ...) or (B, T, ...)."""
    if not isinstance(sequences, Iterable):
        raise RuntimeError(
            "pad_sequence: Expected iterable for input sequences, but got arg of type: "
            f"{type(sequences)}"
        )
    items: list[Any] = list(sequences)
    if not items:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(
            f"Expected padding_side to be one of left or right, but got {padding_side}."
        )
    longest = max(s.size(0) for s in items)
    rest = items[0].shape[1:]
    rows = []
    for s in items:
        if s.shape[1:] != rest:
            raise RuntimeError(
                f"The size of tensor a ({tuple(rest)}) must match the size of tensor b "
                f"({tuple(s.shape[1:])}) in all but the first dimension"
            )
        missing = longest - s.size(0)
        if missing:
            filler = s.new_full((missing, *rest), padding_value)
            s = cat([s, filler] if padding_side == "right" else [filler, s])
        rows.append(s.unsqueeze(0 if batch_first else 1))
    return cat(rows, 0 if batch_first else 1)


def unpad_sequence(padded_sequences: Any, lengths: Tensor, batch_first: bool = False) -> list[Any]:
    """The sequences of a padded batch, each of its own length."""
    if not batch_first:
        padded_sequences = padded_sequences.transpose(0, 1)
    return [s[: int(n)] for s, n in zip(padded_sequences, lengths.tolist(), strict=True)]


def pack_sequence(sequences: list[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Pack a list of sequences, longest first unless `enforce_sorted=False`."""
    lengths = [s.size(0) for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Any]:
    """The sequences of a packed sequence."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
