"""Collation: a list of samples becomes one batch, by the type of its elements."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any, cast

import numpy as np

from .... import dtypes
from ....dtypes import Array
from ....tensor import Tensor, wrap

Key = type | tuple[type, ...]
CollateMap = dict[Key, Callable[..., Any]]

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)

Allocate = Callable[[tuple[int, ...], np.dtype[Any]], Array]

# Where a worker process wants the batch in work written: memory that the parent also sees.
allocate: Allocate | None = None


def collate(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Collate by the functions of a registry: ``{type or types: fn(batch, *, collate_fn_map)}``.

    An exact type goes before a base class, earlier entries before later ones; mappings, named
    tuples and sequences that it does not name are collated field by field. TypeError for the rest.

    >>> collate([1, 2], collate_fn_map={int: lambda batch, *, collate_fn_map: sum(batch)})
    3
    """
    first = batch[0]
    kind = type(first)
    if collate_fn_map is not None:
        function = collate_fn_map.get(kind)
        if function is None:
            function = next((f for k, f in collate_fn_map.items() if isinstance(first, k)), None)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        merged = {
            key: collate([d[key] for d in batch], collate_fn_map=collate_fn_map) for key in first
        }
        return _like_mapping(first, merged)
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return kind(*[collate(c, collate_fn_map=collate_fn_map) for c in zip(*batch, strict=True)])
    if isinstance(first, Sequence):
        size = len(first)
        if any(len(sample) != size for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [collate(c, collate_fn_map=collate_fn_map) for c in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _like_sequence(first, columns)
    raise TypeError(default_collate_err_msg_format.format(kind))


def _like_mapping(model: Any, items: dict[Any, Any]) -> Any:
    """The items in a mapping of the model's type where it can be made, else in a dict."""
    if type(model) is dict:
        return items
    try:
        if isinstance(model, MutableMapping):
            clone = copy.copy(model)
            clone.update(items)
            return clone
        return cast(Any, type(model))(items)
    except TypeError:
        return items


def _like_sequence(model: Any, items: list[Any]) -> Any:
    """The items in a sequence of the model's type where it can be made, else in a list."""
    if type(model) is list:
        return items
    try:
        if isinstance(model, MutableSequence):
            clone = copy.copy(model)
            for i, item in enumerate(items):
                clone[i] = item
            return clone
        return cast(Any, type(model))(items)
    except TypeError:
        return items


def stack_arrays(arrays: list[Array]) -> Array:
    """Stack NumPy arrays of one shape and dtype along a new first dimension."""
    first = arrays[0]
    shape = first.shape
    out = (allocate or np.empty)((len(arrays), *shape), first.dtype)
    if not shape:
        out[...] = arrays
    else:  # one C loop over all elements, and no reshape of each
        np.concatenate(arrays, axis=0, out=out.reshape((len(arrays) * shape[0], *shape[1:])))
    return out


def _alike(arrays: list[Array]) -> bool:
    first = arrays[0]
    shape, raw, kind = first.shape, first.dtype, np.ndarray
    return all(type(a) is kind and a.shape == shape and a.dtype == raw for a in arrays)


def collate_tensor_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Stack tensors; what ``torch.stack`` refuses is refused with its words."""
    plain = all(type(t) is Tensor and t._n is None for t in batch)
    if plain:
        arrays = [t._a for t in batch]
        if _alike(arrays):
            return wrap(stack_arrays(arrays))
    from ....ops.join import stack

    whole = stack(batch, 0)
    if allocate is not None and whole.requires_grad:
        raise RuntimeError(
            "stack(): functions with out=... arguments don't support automatic differentiation, "
            "but one of the arguments requires grad. Detach the samples: a batch leaves its "
            "worker process without a graph."
        )
    return whole


def collate_numpy_array_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Stack NumPy arrays into a tensor; TypeError for arrays of text or objects."""
    if batch[0].dtype.kind in "SUO":
        raise TypeError(default_collate_err_msg_format.format(batch[0].dtype))
    return collate([_tensor_of(a) for a in batch], collate_fn_map=collate_fn_map)


def _tensor_of(a: Any) -> Any:
    return wrap(np.asarray(a, dtypes.of(a.dtype).np))


def collate_numpy_scalar_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """A tensor of NumPy scalars, in their dtype."""
    a = np.array(batch)
    dtypes.of(a.dtype)
    return wrap(a)


def collate_float_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """A float64 tensor of Python floats."""
    return wrap(np.array(batch, np.float64))


def collate_int_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """An int64 tensor of Python ints; bool for bools alone, the default dtype with a float."""
    for x in batch:
        if not isinstance(x, (int, float, np.generic, Tensor)):
            raise TypeError(f"new(): invalid data type '{type(x).__name__}'")
    values = [x.item() if isinstance(x, Tensor) else x for x in batch]
    kind: Any = np.int64
    if any(isinstance(x, (float, np.floating)) for x in values):
        kind = dtypes.default_raw()
    elif all(isinstance(x, (bool, np.bool_)) for x in values):
        kind = np.bool_
    try:
        return wrap(np.array(values, kind))
    except OverflowError:
        raise ValueError("Overflow when unpacking long long") from None


def collate_str_fn(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Text and bytes stay as they are."""
    return batch


default_collate_fn_map: CollateMap = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Any) -> Any:
    """Make a batch of samples: tensors, arrays and numbers are stacked, containers field by field.

    >>> default_collate([("a", 1), ("b", 2)])
    [('a', 'b'), tensor([1, 2])]
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)


def default_convert(data: Any) -> Any:
    """Turn the NumPy arrays and scalars inside of one sample into tensors; leave all else as it is.

    >>> default_convert([np.array([1, 2]), "a"])
    [tensor([1, 2]), 'a']
    """
    if isinstance(data, Tensor):
        return data
    if isinstance(data, (np.ndarray, np.generic)):
        if data.dtype.kind in "SUO":
            return data
        return _tensor_of(np.asarray(data) if isinstance(data, np.generic) else data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return cast(Any, type(data))(*map(default_convert, data))
    if isinstance(data, tuple):
        return [default_convert(item) for item in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(item) for item in data])
    return data
