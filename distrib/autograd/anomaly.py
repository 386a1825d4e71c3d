"""Anomaly detection: name the forward line whose backward failed or gave NaN."""

from __future__ import annotations

import traceback
from typing import Any

from ..tensor import Node, W, lock, state
from .engine import anomaly
from .modes import intercept

_PACKAGE = __name__.partition(".")[0]


def _remember(op: Any, args: Any, attrs: Any, call: Any) -> Any:
    """Interceptor: note the stack of the user's program on every node."""
    y = call(*args, **attrs)
    for t in y if isinstance(y, tuple) else (y,):
        n = getattr(t, "_n", None)
        if type(n) is Node:
            n = n.edges[0] if n.op.pick else n
            if "traceback_" not in n.metadata:
                frames = traceback.extract_stack()[:-2]
                n.metadata["traceback_"] = "".join(traceback.format_list(frames))
    return y


def _switch(on: bool, check_nan: bool) -> None:
    """Set the mode, with its interceptor on this thread's stack once or not at all."""
    anomaly.on, anomaly.check_nan = on, check_nan
    have = _remember in state.stack
    if on and not have:
        intercept(_remember).__enter__()
    elif have and not on:
        state.stack = tuple(f for f in state.stack if f is not _remember)
        with lock:
            W["icept"] -= 1


class set_detect_anomaly:
    """Switch anomaly detection on or off: at once, and as a context manager until the block's end."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.before = anomaly.on, anomaly.check_nan
        _switch(bool(mode), check_nan)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exc: object) -> None:
        _switch(*self.before)


class detect_anomaly(set_detect_anomaly):
    """Within the block, a backward that fails or gives NaN names the forward call it belongs to."""

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan

    def __enter__(self) -> None:
        self.before = anomaly.on, anomaly.check_nan
        _switch(True, self.check_nan)


def is_anomaly_enabled() -> bool:
    """Whether anomaly detection is on."""
    return anomaly.on


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly detection looks for NaN."""
    return anomaly.check_nan
