"""The control plane: garbage, strangers and wrong keys change nothing."""

from __future__ import annotations

import random
import re
import socket
import time

import pytest
from launch_jobs import FOLDER, Job

from distrib.launcher.control import Client, Keys, Server
from distrib.launcher.messages import (
    Exited,
    Failed,
    Hello,
    Message,
    Order,
    decode,
    decode_order,
    encode,
    from_map,
)

MESSAGES = [
    Hello(3, 10, 9, "host", "node"),
    Failed(1, 137, signal=9, out_of_memory=True, last_lines=("a", "ü"), segments=("s",)),
    Exited(0, 0, "train.py:3"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_survive_the_wire(message: Message) -> None:
    assert decode(encode(message)) == message


def test_orders_survive_the_wire() -> None:
    order = Order("end", ((0.0, 15), (2.0, 9)))
    assert decode_order(encode(order)) == order
    assert decode_order(b"\xff\x00") is None


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"op": "hello"},
        {"op": ["hello"]},
        {"op": "hello", "rank": "0", "pid": 1, "watcher": 1, "host": "h", "node": "n"},
        {"op": "hello", "rank": True, "pid": 1, "watcher": 1, "host": "h", "node": "n"},
        {"op": "exited", "rank": 1 << 40, "code": 0},
        {"op": "failed", "rank": 0, "code": 1, "last_lines": [1]},
    ],
)
def test_wrong_maps_are_no_messages(data: object) -> None:
    assert from_map(data) is None


def test_random_bytes_never_raise() -> None:
    rng = random.Random(0)
    good = encode(MESSAGES[1])
    for _ in range(2000):
        bad = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        decode(bytes(bad[: rng.randrange(len(bad) + 1)]))
        decode(rng.randbytes(rng.randrange(40)))


def pump(server: Server, seconds: float) -> list[Message]:
    """Serve for a while; return what arrived."""
    found: list[Message] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        server.answer_zap()
        found += server.receive()
        time.sleep(0.005)
    return found


def test_only_the_key_is_heard() -> None:
    server = Server("127.0.0.1")
    address = f"tcp://127.0.0.1:{server.port}"
    keys = Keys.from_text(server.keys.to_text())
    friend = Client(address, keys)
    stranger = Client(address, Keys(keys.server_public, bytes(range(32))))
    friend.send(MESSAGES[0])
    friend.socket.send(b"garbage of a friend")
    stranger.send(Hello(1, 1, 1, "stranger", ""))
    assert pump(server, 0.5) == [MESSAGES[0]]
    assert server.num_garbage == 1
    server.send(3, Order("bye"))
    server.send(77, Order("bye"))  # one that never came is no error
    time.sleep(0.2)
    assert friend.receive() == [Order("bye")]
    for client in (friend, stranger):
        client.socket.close(linger=0)
        client.context.term()
    server.close()


def test_job_survives_garbage_on_its_port(job: Job, mpi: str) -> None:
    text = "import os, time\nprint(os.environ['DISTRIB_CONTROL'], flush=True)\ntime.sleep(1.5)\n"
    with job.start("run", "--nproc-per-node", "2", job.script(text)) as process:
        assert process.stdout is not None
        found = re.search(r"tcp://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found is not None
        rng = random.Random(1)
        for i in range(50):
            with socket.create_connection(("127.0.0.1", int(found[1]))) as connection:
                greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" if i % 2 else b""
                connection.sendall(greeting + rng.randbytes(200))
        process.communicate(timeout=20)
    assert process.returncode == 0


def test_job_survives_garbage_from_a_rank(job: Job, mpi: str) -> None:
    text = (
        "import os, sys, types\n"
        "for name in ('distrib', 'distrib.launcher'):  # without the library\n"
        "    sys.modules[name] = types.ModuleType(name)\n"
        f"    sys.modules[name].__path__ = [{str(FOLDER)!r}]\n"
        "from distrib.launcher.control import Client, Keys\n"
        "client = Client(os.environ['DISTRIB_CONTROL'],\n"
        "                Keys.from_text(os.environ['DISTRIB_CONTROL_KEY']))\n"
        "for i in range(100): client.socket.send(os.urandom(i))\n"
        "client.socket.send_multipart([b'a', b'b', b''])\n"
        "client.close()\n"
    )
    result = job.run("run", "--nproc-per-node", "2", job.script(text))
    assert result.code == 0, result.output
