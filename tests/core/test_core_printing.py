"""The text of tensors: the reference's to the character."""

import numpy as np
import pytest
from core_table import leaf

import distrib

torch = pytest.importorskip("torch")
INF, NAN = float("inf"), float("nan")
TEXTS = {
    "scalar": lambda m: m.tensor(3.14159),
    "scalar int": lambda m: m.tensor(-7),
    "scalar bool": lambda m: m.tensor(True),
    "scalar whole": lambda m: m.tensor(2.0),
    "scalar large": lambda m: m.tensor(123456789.0),
    "scalar small": lambda m: m.tensor(1.5e-7),
    "scalar inf": lambda m: m.tensor(-INF),
    "scalar nan": lambda m: m.tensor(NAN),
    "scalar double": lambda m: m.tensor(0.1, dtype=m.float64),
    "floats": lambda m: m.tensor([1.0, 2.5, -3.125]),
    "whole floats": lambda m: m.tensor([1.0, 200.0, -3.0]),
    "whole floats wide": lambda m: m.tensor([1.0, 2000.0, 5.0]),
    "wide range": lambda m: m.tensor([1e-5, 1.0, 1e5]),
    "large": lambda m: m.tensor([1e8, 1.5e9, 3.0]),
    "just below sci": lambda m: m.tensor([1.0, 999.5]),
    "small": lambda m: m.tensor([1e-5, 2e-5]),
    "tenths": lambda m: m.tensor([0.1, 0.25, 0.3333333]),
    "inf and nan": lambda m: m.tensor([1.0, INF, -INF, NAN]),
    "inf with fractions": lambda m: m.tensor([1.5, INF, NAN]),
    "only nan": lambda m: m.tensor([NAN, NAN]),
    "only inf": lambda m: m.tensor([INF, -INF]),
    "inf in sci": lambda m: m.tensor([1e-9, INF, NAN, 5.0]),
    "zeros": lambda m: m.zeros(3),
    "minus zero": lambda m: m.tensor([-0.0, 0.0]),
    "zeros and ones": lambda m: m.tensor([0.0, 1.0, 0.5]),
    "ints": lambda m: m.tensor([1, -22, 333]),
    "int32": lambda m: m.tensor([1, 2], dtype=m.int32),
    "uint8": lambda m: m.tensor([0, 255], dtype=m.uint8),
    "int8 matrix": lambda m: m.tensor([[1, -2], [3, 100]], dtype=m.int8),
    "bools": lambda m: m.tensor([True, False]),
    "bool matrix": lambda m: m.tensor([[True, False], [False, True]]),
    "double": lambda m: m.tensor([1.5, 2.25], dtype=m.float64),
    "half": lambda m: m.tensor([1.5, 0.1], dtype=m.float16),
    "bfloat16": lambda m: m.tensor([1.5, 0.1, 300.0], dtype=m.bfloat16),
    "bfloat16 scalar": lambda m: m.tensor(0.3, dtype=m.bfloat16),
    "complex": lambda m: m.tensor([1 + 2j, -0.5 - 1.25j]),
    "complex whole": lambda m: m.tensor([1 + 2j, 3 - 4j]),
    "complex128": lambda m: m.tensor([1.5j, 2], dtype=m.complex128),
    "complex scalar": lambda m: m.tensor(1 - 1j),
    "complex inf": lambda m: m.tensor([complex(INF, 1), complex(0.5, NAN)]),
    "complex matrix": lambda m: m.tensor([[1 + 1j, 2.5], [0, -1j]]),
    "empty": lambda m: m.zeros(0),
    "empty matrix": lambda m: m.zeros(0, 3),
    "empty ints": lambda m: m.zeros(0, dtype=m.int64),
    "empty double": lambda m: m.zeros(2, 0, dtype=m.float64),
    "matrix": lambda m: m.arange(6.0).reshape(2, 3) / 7,
    "three dims": lambda m: m.arange(12.0).reshape(2, 3, 2),
    "four dims": lambda m: m.arange(16).reshape(2, 2, 2, 2),
    "size one dims": lambda m: m.ones(1, 1, 1),
    "long vector": lambda m: m.arange(50.0),
    "long ints": lambda m: m.arange(100, 160),
    "wrapping fractions": lambda m: m.arange(40) / 3.0,
    "summarised vector": lambda m: m.arange(1001.0),
    "at the threshold": lambda m: m.arange(1000),
    "summarised matrix": lambda m: m.arange(10000.0).reshape(100, 100),
    "summarised three dims": lambda m: m.arange(8000).reshape(20, 20, 20),
    "summarised thin": lambda m: m.arange(2000.0).reshape(1000, 2) / 3,
    "summarised wide": lambda m: m.zeros(2, 2000),
    "summarised complex": lambda m: m.arange(2000) * (1 + 0.5j),
    "summarised bool": lambda m: m.ones(50, 50, dtype=m.bool),
    "hidden outlier": lambda m: m.cat([m.ones(600), m.tensor([1e9]), m.ones(600)]),
    "requires grad": lambda m: leaf(m, 3),
    "grad_fn": lambda m: leaf(m, 3) * 2,
    "grad_fn of a view": lambda m: leaf(m, 4, 2)[1:],
    "grad_fn of a sum": lambda m: leaf(m, 4).sum(),
    "grad_fn of split": lambda m: leaf(m, 4).split(2)[0],
    "grad_fn after a write": lambda m: (leaf(m, 3) * 1).add_(1),
    "grad_fn wraps": lambda m: leaf(m, 2, 8, dtype="f8").exp(),
    "grad_fn of CopySlices": lambda m: written(m),
    "double requires grad": lambda m: leaf(m, 2, dtype="f8"),
    "long suffix": lambda m: (leaf(m, 9, dtype="f8") * 100).sigmoid(),
    "meta": lambda m: m.zeros(2, 3, device="meta"),
    "meta int": lambda m: m.zeros(2, dtype=m.int64, device="meta"),
    "parameter": lambda m: m.nn.Parameter(m.ones(2)),
    "transposed": lambda m: m.arange(6.0).reshape(2, 3).t(),
    "expanded": lambda m: m.tensor([1.5]).expand(3),
    "in a list": lambda m: [m.ones(2), m.tensor(1)],
    "size": lambda m: m.ones(2, 3).shape,
    "max": lambda m: m.tensor([[1.0, 5.0], [7.0, 2.0]]).max(1),
    "dtype": lambda m: [m.float32, m.bfloat16, m.bool, m.uint8, m.complex64],
    "device": lambda m: [m.device("cpu"), m.device("cuda:1"), m.device("meta")],
    "format": lambda m: f"{m.tensor(3.14159):.2f} {m.tensor(5):>4d} {m.ones(2)}",
    "str": lambda m: str(m.tensor([0.5])),
}


def written(m):
    b = leaf(m, 2, 2) * 1
    b[0] = 5
    return b


@pytest.mark.parametrize("name", TEXTS)
def test_text(name):
    assert repr(TEXTS[name](distrib)) == repr(TEXTS[name](torch))


def samples(m):
    x = m.tensor(np.random.default_rng(0).standard_normal((6, 8)) * 100, dtype=m.float32)
    return [
        x,
        x[0],
        x * 1e-9,
        x.int(),
        m.tensor(1 / 3),
        x.double() / 7,
        m.arange(30),
        x.bool(),
        x * 1j,
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"precision": 2},
        {"precision": 8},
        {"sci_mode": True},
        {"sci_mode": False},
        {"threshold": 20, "edgeitems": 2},
        {"threshold": 5, "edgeitems": 1},
        {"linewidth": 40},
        {"linewidth": 200, "precision": 6},
        {"profile": "short"},
        {"profile": "full"},
    ],
    ids=str,
)
def test_options(options):
    texts = []
    for m in (distrib, torch):
        m.set_printoptions(**options)
        try:
            texts.append([repr(x) for x in samples(m)])
        finally:
            m.set_printoptions(profile="default")
    assert texts[0] == texts[1]
    assert repr(distrib.tensor([0.123456])) == "tensor([0.1235])"


@pytest.mark.parametrize("seed", range(12))
def test_random_values(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 6, rng.integers(1, 4)))
    scale = 10.0 ** rng.integers(-6, 9)
    a = (rng.standard_normal(shape) * scale).astype(["f4", "f8", "f2"][seed % 3])
    a = np.round(a) if seed % 4 == 0 else a
    if seed % 5 == 0:
        a.reshape(-1)[0] = np.nan
    assert repr(distrib.tensor(a)) == repr(torch.tensor(a))
