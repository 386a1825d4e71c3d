"""Reading a pickle without running anything that it names.

The interpreter makes containers, numbers, strings and what `allowed` holds; nothing else is
imported, called or given attributes, and no hash is taken of anything unknown.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

from .allowed import CALLS, Made, allowed, check_key, find_allowed, trusted


class SafeUnpickler:
    """Reads one pickle from bytes (or a stream) without running anything that it names."""

    def __init__(
        self, read: Callable[[int], bytes], readline: Callable[[], bytes], load_id: Any
    ) -> None:
        self._read, self._line, self._load_id = read, readline, load_id
        self._table = allowed()
        self.globals: list[str] | None = None  # a list collects names, and nothing is refused

    def load(self) -> Any:
        """The object; UnpicklingError for anything malformed or not allowed."""
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        try:
            while True:
                code = self._take(1)[0]
                if code == _STOP:
                    return self.stack.pop()
                step = _STEPS.get(code)
                if step is None:
                    raise UnpicklingError(f"Unsupported operand {code}")
                step(self)
        except (
            AttributeError,
            IndexError,
            KeyError,
            OverflowError,
            TypeError,
            ValueError,
            struct.error,
        ) as error:
            raise UnpicklingError(f"malformed pickle: {type(error).__name__}: {error}") from error

    def _take(self, n: int) -> bytes:
        data = self._read(n)
        if len(data) != n:
            raise EOFError("Ran out of input")
        return data

    def _number(self, form: struct.Struct) -> Any:
        return form.unpack(self._take(form.size))[0]

    def _sized(self, form: struct.Struct) -> bytes:
        return self._take(self._number(form))

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    # -- containers
    def _append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise UnpicklingError(f"cannot append to a {type(target).__name__}")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict, Counter) and not trusted(type(target)):
            raise UnpicklingError(f"cannot set items of a {type(target).__name__}")
        if len(items) % 2:
            raise UnpicklingError("a key has no value")
        put = target.__setitem__
        for key, value in zip(items[::2], items[1::2]):
            put(check_key(key), value)

    def _add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise UnpicklingError(f"cannot add to a {type(target).__name__}")
        target.update(check_key(x) for x in items)

    # -- objects
    def _global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise UnpicklingError("the name of a global is no string")
        if self.globals is not None:
            self._collect(module, name)
        else:
            self._push(find_allowed(self._table, module, name))

    def _collect(self, module: str, name: str) -> None:
        assert self.globals is not None
        try:
            self._push(find_allowed(self._table, module, name))
        except UnpicklingError:
            self.globals.append(f"{module}.{name}")
            self._push(_ANYTHING)

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._global(module, name)

    def _call(self, fn: Any, args: Any) -> Any:
        if type(args) is not tuple:
            raise UnpicklingError("arguments are no tuple")
        if fn is _ANYTHING:
            return _ANYTHING
        if type(fn) is Made:
            return fn.make(*args)
        if any(fn is x for x in CALLS) or trusted(fn):
            return fn(*args)
        raise UnpicklingError(f"cannot call {_shown(fn)}")

    def _reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    def _new(self, kwargs: bool) -> None:
        named = self.stack.pop() if kwargs else {}
        args = self.stack.pop()
        cls = self.stack.pop()
        if type(args) is not tuple or type(named) is not dict:
            raise UnpicklingError("arguments are no tuple")
        if cls is _ANYTHING:
            self._push(cls)
        elif type(cls) is Made and not named:
            self._push(cls.make(*args))
        elif isinstance(cls, type) and trusted(cls):
            self._push(cls.__new__(cls, *args, **named))
        else:
            raise UnpicklingError(f"cannot make a new {_shown(cls)}")

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if made is _ANYTHING:
            return
        if type(made) in (OrderedDict, Counter):
            if type(state) is not dict:
                raise UnpicklingError("the attributes of a dictionary are no dict")
            for key, value in state.items():
                if type(key) is not str or hasattr(OrderedDict, key):
                    raise UnpicklingError(f"cannot set the attribute {key!r:.40} of a dictionary")
                made.__dict__[key] = value
        elif trusted(type(made)):
            _set_state(made, state)
        else:
            raise UnpicklingError(f"cannot set the state of a {type(made).__name__}")

    def _persistent(self) -> None:
        pid = self.stack.pop()
        if type(pid) is not tuple:
            raise UnpicklingError(f"persistent id: expected a tuple, got {type(pid).__name__}")
        self._push(self._load_id(pid))


class _Anything:
    """What a global that is not allowed stands for while names are only collected."""


_ANYTHING = _Anything()


def _shown(x: Any) -> str:
    return getattr(x, "__qualname__", None) or type(x).__name__


def _set_state(made: Any, state: Any) -> None:
    setter = getattr(made, "__setstate__", None)
    if setter is not None:
        setter(state)
        return
    plain, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    if plain:
        made.__dict__.update(plain)
    for name, value in (slots or {}).items():
        setattr(made, name, value)


_STOP = ord(".")
_U1, _U2, _U4, _U8 = (struct.Struct("<" + f) for f in "BHIQ")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")


def _long(s: SafeUnpickler, form: struct.Struct) -> None:
    s._push(int.from_bytes(s._sized(form), "little", signed=True))


def _text(s: SafeUnpickler, form: struct.Struct) -> None:
    s._push(str(s._sized(form), "utf-8", "surrogatepass"))


def _tuple(s: SafeUnpickler, n: int) -> None:
    items = tuple(s.stack[-n:])
    if len(items) != n:
        raise UnpicklingError("stack underflow")
    s.stack[-n:] = [items]


def _mark(s: SafeUnpickler) -> None:
    s.marks.append(s.stack)
    s.stack = []


def _by_lines(s: SafeUnpickler) -> None:
    module = s._line()[:-1].decode("utf-8")
    s._global(module, s._line()[:-1].decode("utf-8"))


def _remember(s: SafeUnpickler, key: int) -> None:
    s.memo[key] = s.stack[-1]


def _pop(s: SafeUnpickler) -> None:
    if s.stack:
        s.stack.pop()
    else:
        s._pop_mark()


def _protocol(s: SafeUnpickler) -> None:
    version = s._take(1)[0]
    if not 2 <= version <= 5:
        raise UnpicklingError(f"unsupported pickle protocol: {version}")


def _pair(s: SafeUnpickler) -> None:
    value = s.stack.pop()
    key = s.stack.pop()
    s._set_items([key, value])


def _one(s: SafeUnpickler) -> None:
    value = s.stack.pop()
    s._append([value])


_STEPS: dict[int, Callable[[SafeUnpickler], Any]] = {
    ord(code): step
    for code, step in {
        "\x80": _protocol,
        "\x95": lambda s: s._take(8),
        "(": _mark,
        "0": _pop,
        "1": lambda s: s._pop_mark(),
        "N": lambda s: s._push(None),
        "\x88": lambda s: s._push(True),
        "\x89": lambda s: s._push(False),
        "J": lambda s: s._push(s._number(_I4)),
        "K": lambda s: s._push(s._number(_U1)),
        "M": lambda s: s._push(s._number(_U2)),
        "\x8a": lambda s: _long(s, _U1),
        "\x8b": lambda s: _long(s, _U4),
        "G": lambda s: s._push(s._number(_F8)),
        "X": lambda s: _text(s, _U4),
        "\x8c": lambda s: _text(s, _U1),
        "\x8d": lambda s: _text(s, _U8),
        "U": lambda s: s._push(s._sized(_U1).decode("latin1")),
        "T": lambda s: s._push(s._sized(_U4).decode("latin1")),
        "B": lambda s: s._push(s._sized(_U4)),
        "C": lambda s: s._push(s._sized(_U1)),
        "\x8e": lambda s: s._push(s._sized(_U8)),
        "\x96": lambda s: s._push(bytearray(s._sized(_U8))),
        ")": lambda s: s._push(()),
        "]": lambda s: s._push([]),
        "}": lambda s: s._push({}),
        "\x8f": lambda s: s._push(set()),
        "t": lambda s: s._push(tuple(s._pop_mark())),
        "l": lambda s: s._push(list(s._pop_mark())),
        "\x85": lambda s: _tuple(s, 1),
        "\x86": lambda s: _tuple(s, 2),
        "\x87": lambda s: _tuple(s, 3),
        "a": _one,
        "e": lambda s: s._append(s._pop_mark()),
        "s": _pair,
        "u": lambda s: s._set_items(s._pop_mark()),
        "\x90": lambda s: s._add_items(s._pop_mark()),
        "\x91": lambda s: s._push(frozenset(check_key(x) for x in s._pop_mark())),
        "c": _by_lines,
        "\x93": lambda s: s._stack_global(),
        "R": lambda s: s._reduce(),
        "\x81": lambda s: s._new(False),
        "\x92": lambda s: s._new(True),
        "b": lambda s: s._build(),
        "h": lambda s: s._push(s.memo[s._number(_U1)]),
        "j": lambda s: s._push(s.memo[s._number(_U4)]),
        "q": lambda s: _remember(s, s._number(_U1)),
        "r": lambda s: _remember(s, s._number(_U4)),
        "\x94": lambda s: _remember(s, len(s.memo)),
        "Q": lambda s: s._persistent(),
    }.items()
}
