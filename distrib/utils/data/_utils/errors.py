"""Exceptions that cross from a worker process to its parent with the worker's own traceback."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, NoReturn


class KeyErrorMessage(str):
    """Text that a KeyError prints as it is, with its line ends."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """An exception as its type and its formatted traceback; both survive pickling."""

    def __init__(self, error: BaseException, where: str) -> None:
        kind = type(error)
        self.where = where
        self.name = kind.__name__
        self.exc_msg = "".join(traceback.format_exception(error))
        try:
            self.kind: bytes | None = pickle.dumps(kind)
        except Exception:  # a class that only that process has
            self.kind = None

    def reraise(self) -> NoReturn:
        """Raise the same type with the traceback as its text; RuntimeError where that fails."""
        text = f"Caught {self.name} {self.where}.\nOriginal {self.exc_msg}"
        try:
            kind: Any = RuntimeError if self.kind is None else pickle.loads(self.kind)
            if kind is KeyError:
                text = KeyErrorMessage(text)
            error = kind(message=text) if getattr(kind, "message", None) else kind(text)
        except Exception:
            error = RuntimeError(text)
        raise error
