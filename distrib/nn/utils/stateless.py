"""Calling a module with other tensors in place of its parameters and buffers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from distrib.nn.modules.module import Module
from distrib.tensor import Tensor

__all__ = ["functional_call"]


def _places(module: Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Where each parameter and buffer stands, by dotted name; shared ones under every name."""
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for prefix, part in module.named_modules(remove_duplicate=False):
        for registry in (part._parameters, part._buffers):
            for name in registry:
                found[f"{prefix}.{name}" if prefix else name] = (registry, name)
    return found


@contextmanager
def _replaced(
    module: Module, tensors: Mapping[str, Tensor], tie_weights: bool, strict: bool
) -> Iterator[None]:
    places = _places(module)
    unexpected = [name for name in tensors if name not in places]
    missing = [name for name in places if name not in tensors]
    if strict and (missing or unexpected):
        raise RuntimeError(
            f"Error(s) in loading state_dict for {module._get_name()}:\n"
            + (f"\tUnexpected key(s): {', '.join(unexpected)}.\n" if unexpected else "")
            + (f"\tMissing key(s): {', '.join(missing)}.\n" if missing else "")
        )
    if unexpected:
        raise AttributeError(f"{module._get_name()} has no attribute `{unexpected[0]}`")
    wanted = dict(tensors)
    if tie_weights:
        by_id = {id(places[n][0][places[n][1]]): v for n, v in tensors.items()}
        for name, (registry, key) in places.items():
            if name not in wanted and registry[key] is not None and id(registry[key]) in by_id:
                wanted[name] = by_id[id(registry[key])]
    before = [(*places[name], places[name][0][places[name][1]]) for name in wanted]
    try:
        for name, value in wanted.items():
            registry, key = places[name]
            registry[key] = value
        yield
    finally:
        for registry, key, value in before:
            registry[key] = value


def functional_call(
    module: Module,
    parameters_and_buffers: Any,
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`module(*args, **kwargs)` with some tensors replaced by name, for this call only.

    Parametrized tensors go by the names of their originals (`parametrizations.weight.original`).
    """
    if isinstance(parameters_and_buffers, (list, tuple)):
        merged: dict[str, Tensor] = {}
        for part in parameters_and_buffers:
            if merged.keys() & part.keys():
                raise ValueError(
                    f"{sorted(merged.keys() & part.keys())} appeared in multiple dictionaries; "
                    "behavior of functional call is ambiguous"
                )
            merged.update(part)
        parameters_and_buffers = merged
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with _replaced(module, parameters_and_buffers, tie_weights, strict):
        return module(*args, **(kwargs or {}))
