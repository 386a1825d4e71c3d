"""The control plane: pyzmq with CURVE and this job's keys; who does not hold the key is not heard.

The launcher binds a ROUTER, each rank's watcher connects a DEALER. The keys live as long as one
attempt of one job and travel in the environment of the ranks, which other users cannot read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .messages import MAX_MESSAGE_BYTES, Message, Order, decode, decode_order, encode

ADDRESS_VARIABLE = "DISTRIB_CONTROL"
KEY_VARIABLE = "DISTRIB_CONTROL_KEY"
_ZAP = "inproc://zeromq.zap.01"


@dataclass(frozen=True, slots=True)
class Keys:
    """What a rank needs to talk to the launcher: its public key and the job's secret key."""

    server_public: bytes
    client_secret: bytes

    def to_text(self) -> str:
        """As the value of DISTRIB_CONTROL_KEY: hexadecimal, safe in every launcher."""
        return f"{self.server_public.hex()}-{self.client_secret.hex()}"

    @staticmethod
    def from_text(text: str) -> Keys:
        """Read DISTRIB_CONTROL_KEY; ValueError if it is not one."""
        try:
            public, secret = (bytes.fromhex(part) for part in text.split("-"))
        except ValueError:
            raise ValueError(f"{KEY_VARIABLE}: not a key of this launcher") from None
        return Keys(public, secret)


class Server:
    """The launcher's end: bind, poll `sockets`, call `receive` and `send`; never blocks."""

    def __init__(self, host: str) -> None:
        import zmq
        from zmq.utils import z85

        self._zmq = zmq
        self.context = zmq.Context()
        public, secret = zmq.curve_keypair()
        client_public, client_secret = zmq.curve_keypair()
        self.keys = Keys(z85.decode(public), z85.decode(client_secret))
        self._client_public = z85.decode(client_public)
        # libzmq asks this socket about every client; it must be there before the first bind.
        self.zap = self.context.socket(zmq.REP)
        self.zap.bind(_ZAP)
        self.socket = self.context.socket(zmq.ROUTER)
        for option, value in (
            (zmq.CURVE_SERVER, 1),
            (zmq.CURVE_SECRETKEY, secret),
            (zmq.CURVE_PUBLICKEY, public),
            (zmq.ZAP_DOMAIN, b"distrib"),
            (zmq.LINGER, 200),
            (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
            (zmq.HANDSHAKE_IVL, 5000),
        ):
            self.socket.setsockopt(option, value)
        port = self.socket.bind_to_random_port(f"tcp://{host}")
        self.port = int(port)
        self.num_garbage = 0
        self._peers: dict[int, bytes] = {}

    @property
    def sockets(self) -> tuple[Any, Any]:
        """The sockets to poll for reading."""
        return self.zap, self.socket

    def answer_zap(self) -> None:
        """Let the holders of this job's key in and nobody else."""
        zmq = self._zmq
        while True:
            try:
                frames = self.zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            version, request_id = frames[0], frames[1]
            key = frames[6] if len(frames) == 7 and frames[5] == b"CURVE" else b""
            known = key == self._client_public
            status = (b"200", b"OK", b"rank") if known else (b"400", b"unknown key", b"")
            self.zap.send_multipart([version, request_id, *status, b""])

    def receive(self) -> list[Message]:
        """All messages that have arrived; garbage is counted and dropped."""
        zmq, found = self._zmq, list[Message]()
        while True:
            try:
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return found
            message = decode(frames[1]) if len(frames) == 2 else None
            if message is None:
                self.num_garbage += 1
                continue
            self._peers.setdefault(message.rank, frames[0])
            found.append(message)

    def send(self, rank: int, order: Order) -> None:
        """Send an order to a rank's watcher; one that never said hello is skipped."""
        peer = self._peers.get(rank)
        if peer is None:
            return
        try:
            self.socket.send_multipart([peer, encode(order)], self._zmq.NOBLOCK)
        except self._zmq.ZMQError:
            return

    def close(self) -> None:
        """Close the sockets; orders on the way get a moment to leave."""
        self.socket.close()
        self.zap.close(linger=0)
        self.context.term()


class Client:
    """A rank's end: connects in the background, so no call blocks."""

    def __init__(self, address: str, keys: Keys) -> None:
        import zmq
        from zmq.utils import z85

        self._zmq = zmq
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        secret = z85.encode(keys.client_secret)
        for option, value in (
            (zmq.CURVE_SERVERKEY, z85.encode(keys.server_public)),
            (zmq.CURVE_PUBLICKEY, zmq.curve_public(secret)),
            (zmq.CURVE_SECRETKEY, secret),
            (zmq.LINGER, 1000),
            (zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES),
        ):
            self.socket.setsockopt(option, value)
        self.socket.connect(address)

    def send(self, message: Message) -> None:
        """Queue a message for the launcher."""
        try:
            self.socket.send(encode(message), self._zmq.NOBLOCK)
        except self._zmq.ZMQError:
            return

    def receive(self) -> list[Order]:
        """All orders that have arrived."""
        found: list[Order] = []
        while True:
            try:
                order = decode_order(self.socket.recv(self._zmq.NOBLOCK))
            except self._zmq.ZMQError:
                return found
            if order is not None:
                found.append(order)

    def close(self) -> None:
        """Close; messages on the way get up to a second."""
        self.socket.close()
        self.context.term()
