"""Layers against the reference: parameters of the same seed, printing, keys, results, gradients."""

import copy
from typing import Any

import numpy as np
import pytest

import distrib
from distrib import nn

torch = pytest.importorskip("torch")

F4 = np.float32
# constructor: shapes of the inputs (a dtype after the shape: integers below it)
LAYERS: dict[str, list[Any]] = {
    "Linear(3, 2)": [(4, 3)],
    "Linear(3, 2, bias=False)": [(2, 4, 3)],
    "Identity(5)": [(2, 3)],
    "Bilinear(2, 3, 4)": [(5, 2), (5, 3)],
    "Flatten()": [(2, 3, 4)],
    "Unflatten(1, (2, 3))": [(4, 6)],
    "Conv1d(2, 4, 3, padding=1)": [(2, 2, 7)],
    "Conv2d(2, 4, (3, 2), padding='same', padding_mode='circular')": [(2, 2, 5, 6)],
    "Conv2d(4, 4, 3, groups=2, stride=2, dilation=2, padding=1, bias=False)": [(2, 4, 8, 8)],
    "Conv3d(1, 2, 2)": [(2, 1, 3, 4, 3)],
    "ConvTranspose1d(2, 3, 3, stride=2, output_padding=1)": [(2, 2, 4)],
    "ConvTranspose2d(2, 4, 3, groups=2, padding=1)": [(2, 2, 4, 3)],
    "BatchNorm1d(4)": [(5, 4)],
    "BatchNorm2d(3, momentum=None)": [(2, 3, 4, 4)],
    "BatchNorm3d(2, affine=False, track_running_stats=False)": [(2, 2, 2, 3, 2)],
    "LayerNorm((3, 4))": [(2, 3, 4)],
    "LayerNorm(4, bias=False)": [(2, 3, 4)],
    "RMSNorm(4)": [(2, 4)],
    "GroupNorm(2, 4)": [(2, 4, 3)],
    "InstanceNorm1d(3)": [(2, 3, 5)],
    "InstanceNorm2d(3, affine=True, track_running_stats=True)": [(2, 3, 4, 4)],
    "LocalResponseNorm(2)": [(2, 4, 3)],
    "CrossMapLRN2d(3, alpha=1e-5)": [(2, 6, 3, 3)],
    "MaxPool1d(2)": [(2, 3, 6)],
    "MaxPool2d((2, 3), stride=1, padding=1, ceil_mode=True)": [(2, 3, 6, 6)],
    "AvgPool2d(2, padding=1, count_include_pad=False)": [(2, 3, 5, 5)],
    "AdaptiveAvgPool2d((3, None))": [(2, 3, 5, 4)],
    "AdaptiveMaxPool1d(2)": [(2, 3, 5)],
    "LPPool1d(2, 3)": [(2, 3, 9)],
    "Embedding(7, 3, padding_idx=1)": [((4, 2), 7)],
    "EmbeddingBag(7, 3, mode='sum')": [((4, 2), 7)],
    "ReLU()": [(3, 4)],
    "LeakyReLU(0.2)": [(3, 4)],
    "PReLU(3)": [(2, 3, 4)],
    "ELU(2.0)": [(3, 4)],
    "GELU('tanh')": [(3, 4)],
    "SiLU()": [(3, 4)],
    "Hardtanh()": [(3, 4)],
    "Softplus()": [(3, 4)],
    "Softmax(1)": [(3, 4)],
    "LogSoftmax(-1)": [(3, 4)],
    "Softmax2d()": [(2, 3, 4, 4)],
    "GLU()": [(3, 4)],
    "Threshold(0.1, 2.0)": [(3, 4)],
    "L1Loss()": [(3, 4), (3, 4)],
    "MSELoss(reduction='sum')": [(3, 4), (3, 4)],
    "CrossEntropyLoss(label_smoothing=0.1)": [(5, 4), ((5,), 4)],
    "NLLLoss()": [(5, 4), ((5,), 4)],
    "BCEWithLogitsLoss()": [(3, 4), (3, 4)],
    "SmoothL1Loss(beta=0.5)": [(3, 4), (3, 4)],
    "HuberLoss()": [(3, 4), (3, 4)],
    "TripletMarginLoss()": [(3, 4), (3, 4), (3, 4)],
    "CosineSimilarity()": [(3, 4), (3, 4)],
    "PairwiseDistance()": [(3, 4), (3, 4)],
    "RNN(2, 3, 2, 'relu')": [(4, 2, 2)],
    "LSTM(2, 4, 2, bidirectional=True, proj_size=3, batch_first=True)": [(2, 5, 2)],
    "LSTM(2, 4)": [(5, 2)],
    "GRU(2, 3, 2, bias=False)": [(4, 2, 2)],
    "RNNCell(2, 3)": [(4, 2)],
    "LSTMCell(2, 3)": [(4, 2)],
    "GRUCell(2, 3, False)": [(2,)],
    "MultiheadAttention(4, 2)": [(3, 2, 4)] * 3,
    "MultiheadAttention(4, 2, bias=False, kdim=3, vdim=2, batch_first=True)": [
        (2, 3, 4),
        (2, 5, 3),
        (2, 5, 2),
    ],
    "MultiheadAttention(4, 2, add_bias_kv=True, add_zero_attn=True)": [(3, 4)] * 3,
    "TransformerEncoderLayer(4, 2, 8, 0.0)": [(3, 2, 4)],
    "TransformerDecoderLayer(4, 2, 8, 0.0, norm_first=True)": [(3, 2, 4), (5, 2, 4)],
    "Transformer(4, 2, 1, 1, 8, 0.0)": [(3, 2, 4), (5, 2, 4)],
    "ConstantPad1d(2, 3.5)": [(2, 3, 4)],
    "ReflectionPad2d((1, 2, 0, 1))": [(2, 3, 4, 4)],
    "ReplicationPad1d(2)": [(2, 3, 4)],
    "CircularPad2d(1)": [(2, 3, 4, 4)],
    "ZeroPad2d(1)": [(2, 3, 4, 4)],
    "PixelShuffle(2)": [(1, 8, 3, 3)],
    "Upsample(scale_factor=2)": [(2, 3, 4, 4)],
    "Unfold((2, 3), padding=1)": [(2, 3, 4, 5)],
    "AdaptiveLogSoftmaxWithLoss(8, 20, [5, 12], div_value=2.0)": [(6, 8), ((6,), 20)],
    "Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))": [(5, 3)],
}


def arrays(shapes: list[Any]) -> list[Any]:
    made = np.random.default_rng(3)
    return [
        made.integers(0, shape[1], shape[0])
        if isinstance(shape[0], tuple)
        else made.standard_normal(shape).astype(F4)
        for shape in shapes
    ]


def tensors(library: Any, values: list[Any]) -> list[Any]:
    made = [library.from_numpy(v.copy()) for v in values]
    return [t.requires_grad_() if t.is_floating_point() else t for t in made]


def flat(result: Any) -> list[Any]:
    if isinstance(result, (tuple, list)):
        return [t for part in result for t in flat(part)]
    return [] if result is None else [result]


def close(a: Any, b: Any, what: str, scale: float = 1.0) -> None:
    a, b = a.detach().numpy(), b.detach().numpy()
    assert a.dtype == b.dtype, what
    np.testing.assert_allclose(b, a, rtol=1e-4 * scale, atol=1e-5 * scale, err_msg=what)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:LSTM with projections")
@pytest.mark.parametrize("text", LAYERS)
def test_layer(text: str) -> None:
    torch.manual_seed(7)
    theirs = eval(f"nn.{text}", {"nn": torch.nn})
    distrib.manual_seed(7)
    ours = eval(f"nn.{text}", {"nn": nn})
    assert repr(ours) == repr(theirs)
    want, got = theirs.state_dict(), ours.state_dict()
    assert list(got) == list(want)
    assert got._metadata == want._metadata
    for name, value in want.items():
        assert np.array_equal(got[name].numpy(), value.numpy()), name
    values = arrays(LAYERS[text])
    inputs = tensors(torch, values), tensors(distrib, values)
    results = flat(theirs(*inputs[0])), flat(ours(*inputs[1]))
    assert len(results[0]) == len(results[1])
    for a, b in zip(*results):
        close(a, b, "result")
    for result in results:
        loss = sum(((t * t).sum() for t in result if t.requires_grad), start=0.0)
        if not isinstance(loss, float):
            loss.backward()
    for a, b in zip(*inputs):
        if a.requires_grad:
            close(a.grad, b.grad, "gradient of an input", 5.0)
    others = dict(ours.named_parameters())
    for name, param in theirs.named_parameters():
        assert (param.grad is None) == (others[name].grad is None), name
        if param.grad is not None:
            close(param.grad, others[name].grad, f"gradient of {name}", 5.0)
    for name, buffer in theirs.named_buffers():
        close(buffer, dict(ours.named_buffers())[name], f"buffer {name}")


MASKED = "TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True), 2)"


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("no_grad", [False, True])
def test_padded_steps_of_the_encoder(no_grad: bool) -> None:
    torch.manual_seed(1)
    theirs = eval(f"nn.{MASKED}", {"nn": torch.nn}).eval()
    distrib.manual_seed(1)
    ours = eval(f"nn.{MASKED}", {"nn": nn}).eval()
    (x,) = arrays([(2, 3, 4)])
    mask = np.array([[False, False, True], [False, False, False]])
    with torch.set_grad_enabled(not no_grad):
        want = theirs(torch.from_numpy(x), src_key_padding_mask=torch.from_numpy(mask))
    with distrib.set_grad_enabled(not no_grad):
        got = ours(distrib.from_numpy(x), src_key_padding_mask=distrib.from_numpy(mask))
    close(want, got, "result")


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_packed_sequences(kind: str) -> None:
    values = arrays([(3, 5, 2)])[0]
    results = []
    for library, space in ((torch, torch.nn), (distrib, nn)):
        library.manual_seed(2)
        layer = getattr(space, kind)(2, 3, bidirectional=True, batch_first=True)
        rnn = space.utils.rnn
        x = library.from_numpy(values.copy()).requires_grad_()
        packed = rnn.pack_padded_sequence(x, [2, 5, 3], batch_first=True, enforce_sorted=False)
        output, state = layer(packed)
        padded, lengths = rnn.pad_packed_sequence(output, batch_first=True, total_length=6)
        padded.square().sum().backward()
        results.append([padded, lengths, *flat(state), x.grad, layer.weight_hh_l0.grad])
    for a, b in zip(*results):
        close(a, b, kind, 5.0)


INITS = [
    "uniform_(t, -1, 2)",
    "normal_(t, 1, 2)",
    "trunc_normal_(t)",
    "trunc_normal_(t, 0.0, 1.0, -0.1, 0.2)",
    "xavier_uniform_(t, 2.0)",
    "xavier_normal_(t)",
    "kaiming_uniform_(t, mode='fan_out', nonlinearity='relu')",
    "kaiming_normal_(t, 0.1)",
    "orthogonal_(t, 2.0)",
    "sparse_(t, 0.3)",
    "eye_(t)",
    "constant_(t, 3.0)",
    "zeros_(t)",
    "ones_(t)",
]


@pytest.mark.parametrize("shape", [(6, 5), (3, 17)])
@pytest.mark.parametrize("text", INITS)
def test_init(text: str, shape: tuple[int, ...]) -> None:
    made = []
    for library, init in ((torch, torch.nn.init), (distrib, nn.init)):
        library.manual_seed(5)
        t = library.empty(*shape)
        assert eval(f"init.{text}", {"init": init, "t": t}) is t
        made.append(t.numpy())
    np.testing.assert_allclose(made[1], made[0], rtol=1e-5, atol=1e-6)


def test_dirac() -> None:
    for shape in ((4, 2, 3), (4, 3, 3, 3)):
        want, got = torch.empty(*shape), distrib.empty(*shape)
        torch.nn.init.dirac_(want, 2)
        nn.init.dirac_(got, 2)
        assert np.array_equal(want.numpy(), got.numpy())


def test_deepcopies_train_alike() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    twin = copy.deepcopy(net)
    x = distrib.ones(1, 3)
    assert twin(x).tolist() == net(x).tolist()
    twin(x).sum().backward()
    assert net[0].weight.grad is None
