"""The allocator, threads, forks, instruction sets and reference counts of the extension."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest

from distrib.kernels import cpu

pytestmark = pytest.mark.usefixtures("kernels")
Array = Any


@pytest.fixture
def allocator() -> Any:
    cpu.install_allocator()
    yield cpu
    cpu.set_memory_limit(None)
    cpu.uninstall_allocator()


def run(code: str, **env: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_blocks_are_reused_and_counted(allocator: Any) -> None:
    allocator.empty_cache()
    gc.collect()
    start = allocator.memory_stats()
    x = np.empty(3_000_000, np.float32)
    assert x.ctypes.data % 64 == 0
    used = allocator.memory_stats()["allocated"] - start["allocated"]
    assert x.nbytes <= used <= x.nbytes * 1.25
    address = x.ctypes.data
    del x
    assert allocator.memory_stats()["cached"] >= 12_000_000
    hits = allocator.memory_stats()["hits"]
    y = np.zeros(3_000_000, np.float32)
    assert y.ctypes.data == address
    assert not y.any()
    assert allocator.memory_stats()["hits"] > hits
    del y
    allocator.empty_cache()
    assert allocator.memory_stats()["cached"] == 0


def test_all_sizes_resize_and_growth(allocator: Any) -> None:
    rng = np.random.default_rng(0)
    held = []
    for n in [
        0,
        1,
        63,
        64,
        65,
        255,
        256,
        257,
        1 << 20,
        (1 << 20) + 1,
        *rng.integers(1, 1 << 18, 99),
    ]:
        a = np.full(int(n), 7, np.uint8)
        held.append(a)
    for a in held:
        assert (a == 7).all()
        n = a.size
        a.resize(2 * n + 5, refcheck=False)
        assert (a[:n] == 7).all()
        a.resize(n // 3, refcheck=False)
        assert (a == 7).all()
    text = np.array(["ab", "cdefg"] * 100)
    assert text[1] == "cdefg"


def test_memory_limit(allocator: Any) -> None:
    allocator.set_memory_limit(allocator.memory_stats()["reserved"] + (64 << 20))
    with pytest.raises(MemoryError):
        np.empty(100 << 20, np.uint8)
    np.empty(1 << 20, np.uint8)
    allocator.set_memory_limit(None)
    np.empty(100 << 20, np.uint8)
    kept = allocator.memory_stats()["cache_limit"]
    allocator.set_cache_limit(0)
    np.empty(1 << 20, np.uint8)
    assert allocator.memory_stats()["cached"] == 0
    allocator.set_cache_limit(kept)


def test_arrays_cross_threads(allocator: Any) -> None:
    out: list[bool] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        cpu.install_allocator()
        ok = True
        for _ in range(300):
            a = np.full(int(rng.integers(1, 5000)), seed)
            b = a + a
            ok = ok and bool((b == 2 * seed).all())
        out.append(ok)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert out == [True] * 4


def test_arrays_outlive_the_interpreter_and_survive_a_fork() -> None:
    code = """
import os
import numpy as np
from distrib.kernels import cpu
cpu.install_allocator()
cpu.set_num_threads(4)
keep = np.ones((512, 512), np.float32)
want = cpu.gelu_tanh(keep)
pid = os.fork()
if pid == 0:
    ok = np.array_equal(cpu.gelu_tanh(keep), want) and np.array_equal(keep + keep, 2 * keep)
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
import builtins
builtins.held = [keep, want]
print("done")
"""
    assert run(code) == "done"


def everything() -> list[Array]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 8, 20, 20)).astype(np.float32)
    w = rng.standard_normal((16, 8, 3, 3)).astype(np.float32)
    o = ((1, 1), (1, 1), (1, 1), 1)
    y = cpu.conv(x, w, None, *o)
    z, mean, rstd = cpu.batch_norm(y, None, None, None, None, 0.1, 1e-5, True)
    rows = y.reshape(-1, 20)
    ln, m, r = cpu.layer_norm(rows, 20, None, None, 1e-5)
    q = rng.standard_normal((3, 4, 60, 16)).astype(np.float32)
    a, lse = cpu.attention(q, q, q, None, None, 1.0, True, 0.25)
    big = rng.standard_normal((300, 1000)).astype(np.float32)
    t = rng.integers(0, 1000, 300)
    loss, rows_lse, _ = cpu.cross_entropy(big, t, None, -100, 1, 0.0)
    p, g = [rng.standard_normal(100_000).astype(np.float32) for _ in range(2)]
    cpu.adam([p], [g], [g.copy()], [g * g], None, 0.1, 0.9, 0.99, 1e-8, 0.0, 1.0, True, False)
    out = [y, cpu.conv_input_grad(y, w, x.shape, *o), cpu.conv_weight_grad(y, x, w.shape, *o)]
    out += [cpu.channel_sum(y), z, mean, rstd, *cpu.batch_norm_grad(y, y, z, None, mean, rstd)]
    out += [ln, *cpu.layer_norm_grad(rows, rows, 20, None, m, r), cpu.gelu_erf(big)]
    out += [a, *cpu.attention_grad(q, q, q, q, a, lse, None, None, 1.0, True, 0.25)]
    out += [loss, cpu.cross_entropy_grad(loss, big, t, rows_lse, None, -100, 0.0, 0.1), p]
    out += [
        np.array(cpu.sum_squares([big, p])),
        cpu.softmax(big),
        *cpu.max_pool2d(y, (2, 2), (2, 2), (0, 0), (1, 1), False),
    ]
    return out + [cpu.embedding_grad(big, t, 1000, -1)]


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    before = cpu.get_num_threads()
    results = []
    for k in (1, 2, 3, 5):
        cpu.set_num_threads(k)
        assert cpu.get_num_threads() == k
        results.append(everything())
    cpu.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="num_threads"):
        cpu.set_num_threads(0)


def test_no_reference_is_lost_or_leaked() -> None:
    x = np.ones((2, 3, 4, 4), np.float32)
    before = sys.getrefcount(x)
    for _ in range(50):
        cpu.softmax(x)
        cpu.softmax(x[:, ::2])
        cpu.conv(x, x[:, :, :2, :2], None, (1, 1), (0, 0), (1, 1), 1)
        cpu.adam([x], [x], [x], [x], None, 0.0, 0.9, 0.9, 1.0, 0.0, 1.0, True, False)
        with pytest.raises(TypeError):
            cpu.softmax_grad(x, x.astype(np.float64))
        with pytest.raises(ValueError, match="shape"):
            cpu.sgd([x], [x[0]], None, 0.1, 0.0, 0.0, 0.0, False, False, False)
    assert sys.getrefcount(x) == before
    cpu.install_allocator()
    try:
        gc.collect()
        start = cpu.memory_stats()["allocated"]
        for _ in range(4):
            everything()
        gc.collect()
        assert cpu.memory_stats()["allocated"] == start
    finally:
        cpu.uninstall_allocator()


@pytest.mark.parametrize("isa", ["base", "v3"])
def test_other_instruction_sets_agree(isa: str) -> None:
    if isa not in cpu.build_info()["isas"] or (isa == "v3" and cpu.isa() == "base"):
        return
    code = """
import sys
sys.path.insert(0, "tests/kernels")
import numpy as np
from test_process import everything
from distrib.kernels import cpu
np.savez(sys.stdout.buffer, *everything(), isa=np.array(cpu.isa()))
"""
    import io
    import os
    from pathlib import Path

    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "DISTRIB_KERNELS_ISA": isa},
    )
    assert done.returncode == 0, done.stderr
    other = np.load(io.BytesIO(done.stdout))
    assert str(other["isa"]) == isa
    for i, a in enumerate(everything()):
        np.testing.assert_allclose(other[f"arr_{i}"], a, rtol=1e-3, atol=1e-3)
