"""What ranks and launcher say to one another: dataclasses, and msgpack maps checked key by key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_MESSAGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Hello:
    """A rank is there: the process that runs the script and the watcher that started it."""

    rank: int
    pid: int
    watcher: int
    host: str
    node: str  # equal for processes that can see one another's pids


@dataclass(frozen=True, slots=True)
class Failed:
    """A rank ended by itself and not well: with an exception, an exit code or a signal."""

    rank: int
    code: int  # exit code, 128 + signal for a signal
    signal: int = 0
    exception: str = ""  # type name
    text: str = ""  # its message
    where: str = ""  # file:line in function
    traceback: str = ""
    stack: str = ""  # Python stack at a fatal signal
    last_lines: tuple[str, ...] = ()
    out_of_memory: bool = False
    segments: tuple[str, ...] = ()  # names in /dev/shm that the rank had mapped


@dataclass(frozen=True, slots=True)
class Exited:
    """A rank ended well, or because it was told to."""

    rank: int
    code: int
    where: str = ""
    segments: tuple[str, ...] = ()


Message = Hello | Failed | Exited


@dataclass(frozen=True, slots=True)
class Order:
    """From launcher to watcher: ``end`` (signals in steps), ``signal`` (one signal), ``bye``."""

    name: str
    steps: tuple[tuple[float, int], ...] = field(default=())  # (seconds from now, signal)


_KINDS: dict[str, type[Hello] | type[Failed] | type[Exited]] = {
    "hello": Hello,
    "failed": Failed,
    "exited": Exited,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}
_TYPES: dict[str, type] = {"int": int, "str": str, "bool": bool, "tuple[str, ...]": tuple}


def to_map(message: Message) -> dict[str, Any]:
    """A message as a plain map, ready for msgpack."""
    return {"op": _NAMES[type(message)], **asdict(message)}


def _strings(value: object) -> tuple[str, ...] | None:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def from_map(data: object) -> Message | None:
    """The message in a decoded map, or None for anything that is not exactly one."""
    if not isinstance(data, Mapping):
        return None
    op = data.get("op")
    kind = _KINDS.get(op) if isinstance(op, str) else None
    if kind is None:
        return None
    values: dict[str, Any] = {}
    for name, annotation in kind.__annotations__.items():
        if name not in data:
            continue
        value = data[name]
        expected = _TYPES[annotation]
        if expected is tuple:
            value = _strings(value)
        elif type(value) is not expected:
            return None
        if value is None or (expected is int and not -(1 << 31) <= value < 1 << 31):
            return None
        values[name] = value
    try:
        return kind(**values)
    except TypeError:
        return None


def encode(message: Message | Order) -> bytes:
    """Bytes of a message or an order."""
    import msgpack

    data: object = asdict(message) if isinstance(message, Order) else to_map(message)
    packed: bytes = msgpack.packb(data)
    return packed


def _unpack(data: bytes) -> object:
    import msgpack

    if len(data) > MAX_MESSAGE_BYTES:
        return None
    try:
        result: object = msgpack.unpackb(data)
    except Exception:  # msgpack raises many kinds, and none may end the launcher
        return None
    return result


def decode(data: bytes) -> Message | None:
    """The message in these bytes, or None for garbage; never raises."""
    return from_map(_unpack(data))


def decode_order(data: bytes) -> Order | None:
    """The order in these bytes, or None for garbage; never raises."""
    found = _unpack(data)
    if not isinstance(found, Mapping) or not isinstance(found.get("name"), str):
        return None
    try:
        steps = tuple((float(after), int(number)) for after, number in found.get("steps", ()))
    except (TypeError, ValueError):
        return None
    return Order(found["name"], steps)
