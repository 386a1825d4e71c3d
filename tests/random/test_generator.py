"""Generators without PyTorch at hand: recorded streams, states, seeds, errors, threads."""

import copy
import hashlib
import os
import pickle
import signal
import threading
import warnings

import numpy as np
import pytest

import distrib.random as rng
from distrib import config
from distrib.random import Generator, fill, sampling
from distrib.tensor import wrap

# Digests of what PyTorch 2.13 draws on a CPU, one after another from one seed.
RECORDED = {
    "uniform": "c156e3deb4a14b06",
    "uniform_bounds": "c5a958247cef52ab",
    "normal_blocks": "48295d56b34af3f9",
    "normal_pairs": "fbb58ca2d9418fa4",
    "normal_float64": "3a1fcb3226f62c0e",
    "random": "9a899c57a4c96d40",
    "random_wide": "de0753101bf027b0",
    "randperm": "116ddb7d544d3536",
    "bernoulli": "206c8f4594f7b717",
    "exponential": "210b32289727d687",
    "state": "4808724e4bc4893e",
}


def draw(call, n, dtype, *args):
    def run(g):
        out = np.empty(n, dtype)
        call(out, *args, g)
        return out

    return run


CALLS = {
    "uniform": draw(fill.uniform, 1000, "f4", 0, 1),
    "uniform_bounds": draw(fill.uniform, 1001, "f8", -0.3, 0.7),
    "normal_blocks": draw(fill.normal, 1003, "f4", 0, 1),
    "normal_pairs": draw(fill.normal, 7, "f8", 0, 1),
    "normal_float64": draw(fill.normal, 50, "f8", 0, 1),
    "random": draw(fill.random, 1000, "i8", 0, 1000),
    "random_wide": draw(fill.random, 1000, "i8", 0, 2**40),
    "randperm": lambda g: sampling.permutation(1000, np.dtype("i8"), g),
    "bernoulli": draw(fill.bernoulli, 1000, "f4", 0.7),
    "exponential": draw(fill.exponential, 1000, "f4", 1.0),
    "state": lambda g: g.get_state()._a,
}


@pytest.fixture(params=[False, True], ids=["numpy", "kernels"], autouse=True)
def engine(request):
    with config.override(DISTRIB_KERNELS=request.param):
        yield


@pytest.fixture
def g():
    return Generator().manual_seed(1234)


def test_recorded_streams(g):
    got = {name: hashlib.sha256(call(g).tobytes()).hexdigest()[:16] for name, call in CALLS.items()}
    assert got == RECORDED


def test_chunks_do_not_show(g, monkeypatch):
    whole = [call(g).tobytes() for call in CALLS.values()]
    monkeypatch.setattr(fill, "CHUNK", 48)
    g.manual_seed(1234)
    assert [call(g).tobytes() for call in CALLS.values()] == whole


def test_long_permutations_shuffle_inside_out(g, monkeypatch):
    monkeypatch.setattr(sampling, "INSIDE_OUT", 10)
    order = sampling.permutation(50, np.dtype("i4"), g)
    words = [int(w) for w in Generator().manual_seed(1234).words(100)]
    want = [0] * 50
    for i in range(50):
        j = (words[2 * i] << 32 | words[2 * i + 1]) % (i + 1)
        want[i] = want[j]
        want[j] = i
    assert order.tolist() == want


@pytest.mark.parametrize("drawn", [0, 1, 623, 624, 625])
def test_state_round_trip(g, drawn):
    g.words(drawn)
    draw(fill.normal, 3, "f4", 0, 1)(g)
    state = g.get_state()
    other = Generator()
    other.set_state(state)
    for name in ("normal_pairs", "uniform"):
        assert np.array_equal(CALLS[name](other), CALLS[name](g))
    assert np.array_equal(other.get_state()._a, g.get_state()._a)


def test_engines_take_over_from_each_other(g):
    g.words(100)
    for kernels in (True, False, True):
        with config.override(DISTRIB_KERNELS=kernels):
            other = g.clone_state()
            assert np.array_equal(other.words(1000), g.clone_state().words(1000))
            g = other


def test_copies_continue_alike(g):
    g.words(5)
    for other in (g.clone_state(), copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        assert other.initial_seed() == 1234
        assert np.array_equal(other.clone_state().words(9), g.clone_state().words(9))


def test_seeds():
    g = Generator()
    assert g.initial_seed() == 67280421310721
    assert g.manual_seed(-1) is g
    assert g.initial_seed() == 2**64 - 1
    assert g.seed() == g.initial_seed() != Generator().seed()
    a, b = Generator().manual_seed(5), Generator().manual_seed(5 + 2**32)
    assert np.array_equal(a.words(4), b.words(4))  # the engine takes 32 bits


def test_default_generator_functions():
    before = rng.get_rng_state()
    try:
        assert rng.manual_seed(3.7).initial_seed() == 3 == rng.initial_seed()
        first = rng.default_generator.words(3)
        rng.manual_seed(3)
        with rng.fork_rng():
            assert np.array_equal(rng.default_generator.words(3), first)
            rng.seed()
        assert rng.initial_seed() == 3
        assert np.array_equal(rng.default_generator.words(3), first)
        assert rng.thread_safe_generator() is None
        assert rng.choose(None) is rng.default_generator
    finally:
        rng.set_rng_state(before)


@pytest.mark.parametrize(
    ("kind", "message", "call"),
    [
        (RuntimeError, "manual_seed expected a long, but got float", lambda g: g.manual_seed(1.5)),
        (RuntimeError, "manual_seed expected a long, but got bool", lambda g: g.manual_seed(True)),
        (ValueError, "Overflow", lambda g: g.manual_seed(2**64)),
        (ValueError, "invalid literal", lambda g: rng.manual_seed("a")),
        (TypeError, "expected a torch.ByteTensor, but got int", lambda g: g.set_state(3)),
        (TypeError, "ByteTensor", lambda g: g.set_state(wrap(np.zeros(5056, "f4")))),
        (RuntimeError, "size 5056 .* 10", lambda g: g.set_state(wrap(np.zeros(10, "u1")))),
        (RuntimeError, "Invalid mt19937", lambda g: g.set_state(wrap(np.zeros(5056, "u1")))),
        (RuntimeError, "offset", lambda g: g.get_offset()),
        (RuntimeError, "offset", lambda g: g.set_offset(1)),
        (NotImplementedError, "graphsafe_get_state", lambda g: g.graphsafe_get_state()),
        (RuntimeError, "no random stream .* 'meta'", lambda g: Generator("meta")),
        (RuntimeError, "no random stream .* 'cuda'", lambda g: Generator("cuda:0")),
        (TypeError, "expected a torch.Generator", lambda g: rng.choose(5)),
        (RuntimeError, r"from=3 > to=1", draw(fill.uniform, 2, "f4", 3, 1)),
        (RuntimeError, "to is out of bounds for c10::Half", draw(fill.uniform, 2, "f2", 0, 1e6)),
        (RuntimeError, "exceed the limit", draw(fill.uniform, 2, "f4", -3.4e38, 3.4e38)),
        (NotImplementedError, "'Long'", draw(fill.uniform, 2, "i8", 0, 1)),
        (RuntimeError, "std >= 0.0, but found std -1", draw(fill.normal, 2, "f4", 0, -1)),
        (RuntimeError, r"p to be in \[0, 1\], but got p=1.5", draw(fill.bernoulli, 2, "f4", 1.5)),
        (RuntimeError, "p_in", draw(fill.bernoulli_each, 2, "f4", np.array([0.5, 2.0]))),
        (RuntimeError, "lambda > 0.0", draw(fill.exponential, 2, "f4", 0)),
        (RuntimeError, r"p to be in \(0, 1\)", draw(fill.geometric, 2, "f4", 1)),
        (RuntimeError, "sigma > 0.0", draw(fill.cauchy, 2, "f4", 0, 0)),
        (RuntimeError, "std > 0.0", draw(fill.log_normal, 2, "f4", 0, 0)),
        (RuntimeError, "from=5 >= to=3", draw(fill.random, 2, "i8", 5, 3)),
        (RuntimeError, "to - 1 .* for unsigned char", draw(fill.random, 2, "u1", 0, 300)),
        (RuntimeError, "negative dimension", lambda g: sampling.permutation(-1, np.dtype("i8"), g)),
        (RuntimeError, "2049 for Half", lambda g: sampling.permutation(3000, np.dtype("f2"), g)),
        (RuntimeError, "1 or 2 dim", lambda g: sampling.multinomial(np.array(1.0), 1, True, g)),
        (RuntimeError, "without repl", lambda g: sampling.multinomial(np.ones(2), 3, False, g)),
        (RuntimeError, "<= 0 samples", lambda g: sampling.multinomial(np.ones(2), 0, False, g)),
        (RuntimeError, "sum of prob", lambda g: sampling.multinomial(np.zeros(2), 1, False, g)),
        (RuntimeError, "element < 0", lambda g: sampling.multinomial(-np.ones(2), 1, False, g)),
        (RuntimeError, "entry < 0", lambda g: sampling.multinomial(-np.ones(2), 2, True, g)),
    ],
)  # fmt: skip
def test_misuse(g, kind, message, call):
    with pytest.raises(kind, match=message):
        call(g)


def test_range_beyond_the_significand_warns(g):
    with pytest.warns(UserWarning, match=r"2\^24"):
        draw(fill.random, 2, "f4", 0, 2**25)(g)


def test_threads_share_one_stream(g):
    drawn = []
    start = threading.Barrier(4)

    def work():
        start.wait()
        drawn.extend(CALLS["uniform"](g) for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    alone = np.empty(80_000, np.float32)
    fill.uniform(alone, 0, 1, Generator().manual_seed(1234))
    assert np.array_equal(np.sort(np.concatenate(drawn)), np.sort(alone))


def test_a_forked_process_can_draw():
    lock = rng.default_generator.lock
    held, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        rng.manual_seed(3)
        os._exit(0)
    done.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0


def test_moments(g):
    z = np.empty(200_000, np.float32)
    fill.normal(z, 2, 3, g)
    assert abs(z.mean() - 2) < 0.03
    assert abs(z.std() - 3) < 0.03
