"""nn.utils: clipping, vectors, sequences, parametrizations, functional calls."""

import copy
from typing import Any

import numpy as np
import pytest

import distrib as torch
from distrib import nn
from distrib.nn.utils import parametrizations, parametrize, rnn
from distrib.nn.utils.stateless import functional_call


def with_grad(*values: float) -> nn.Parameter:
    param = nn.Parameter(torch.zeros(len(values)))
    param.grad = torch.tensor(list(values))
    return param


def test_clip_grad_norm() -> None:
    a, b = with_grad(3.0, 0.0), with_grad(4.0)
    assert nn.utils.clip_grad_norm_([a, b, nn.Parameter(torch.ones(1))], 1.0).item() == 5.0
    assert a.grad.tolist() == pytest.approx([0.6, 0.0], abs=1e-6)
    assert b.grad.tolist() == pytest.approx([0.8], abs=1e-6)
    nn.utils.clip_grad_norm_([a, b], 10.0)
    assert b.grad.tolist() == pytest.approx([0.8], abs=1e-6)


@pytest.mark.parametrize(("p", "norm"), [(1.0, 7.0), (float("inf"), 4.0), (0.0, 2.0)])
def test_norms(p: float, norm: float) -> None:
    grads = [torch.tensor([-3.0, 0.0]), torch.tensor([4.0])]
    assert nn.utils.get_total_norm(grads, p).item() == norm


def test_norm_that_is_not_finite() -> None:
    param = with_grad(float("inf"))
    with pytest.raises(RuntimeError, match="for gradients from `parameters` is non-finite"):
        nn.utils.clip_grad_norm_(param, 1.0, error_if_nonfinite=True)


def test_clip_counts_as_a_write() -> None:
    param = with_grad(3.0)
    before = param.grad._version
    nn.utils.clip_grad_value_(param, 0.5)
    assert param.grad.tolist() == [0.5]
    assert param.grad._version > before


def test_empty_generator_warns() -> None:
    with pytest.warns(UserWarning, match="is an empty generator"):
        nn.utils.clip_grad_norm_((p for p in ()), 1.0)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0


def test_vectors() -> None:
    net = nn.Linear(2, 1)
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.tolist() == [*net.weight[0].tolist(), net.bias.item()]
    nn.utils.vector_to_parameters(torch.arange(3.0), net.parameters())
    assert net.weight.tolist() == [[0.0, 1.0]]
    assert net.bias.tolist() == [2.0]


def test_pack_and_unpack() -> None:
    items = [torch.arange(2.0), torch.arange(3.0)]
    packed = rnn.pack_sequence(items, enforce_sorted=False)
    assert packed.data.tolist() == [0.0, 0.0, 1.0, 1.0, 2.0]
    assert packed.batch_sizes.tolist() == [2, 2, 1]
    assert packed.sorted_indices.tolist() == [1, 0]
    assert [t.tolist() for t in rnn.unpack_sequence(packed)] == [t.tolist() for t in items]
    padded, lengths = rnn.pad_packed_sequence(packed, padding_value=-1.0, total_length=4)
    assert padded.t().tolist() == [[0.0, 1.0, -1.0, -1.0], [0.0, 1.0, 2.0, -1.0]]
    assert lengths.tolist() == [2, 3]
    assert packed.to("cpu") is packed
    assert packed.double().data.dtype is torch.float64


def test_pad_sequence() -> None:
    items = [torch.ones(2), torch.ones(3)]
    left = rnn.pad_sequence(items, True, -1.0, "left")
    assert left.tolist() == [[-1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    assert rnn.pad_sequence(items).shape == (3, 2)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: rnn.pack_padded_sequence(x, [3, 0]), RuntimeError, "greater than 0"),
        (lambda x: rnn.pack_padded_sequence(x, [1, 3]), RuntimeError, "sorted in decreasing order"),
        (lambda x: rnn.pack_padded_sequence(x, [1, 2, 3]), RuntimeError, "equal to batch_size"),
        (lambda x: rnn.pad_sequence(3), RuntimeError, "Expected iterable for input sequences"),
        (lambda x: rnn.pad_sequence([]), RuntimeError, "received an empty list of sequences"),
        (lambda x: rnn.pad_sequence([x], padding_side="up"), RuntimeError, "left or right"),
        (lambda x: nn.LSTM(2, 3)(x), RuntimeError, "Expected 2, got 1"),
        (lambda x: nn.LSTM(1, 3)(x, (x, x)), RuntimeError, r"Expected hidden\[0\] size"),
        (lambda x: nn.GRU(1, 3)(x[0, 0]), ValueError, "GRU: Expected input to be 2D or 3D"),
        (lambda x: nn.GRU(1, 3)(x.double()), ValueError, "does not match weight dtype"),
        (lambda x: nn.RNN(1, 3, nonlinearity="no"), ValueError, "Unknown nonlinearity 'no'"),
        (lambda x: nn.GRU(1, 3, proj_size=1), ValueError, "only supported for LSTM"),
        (lambda x: nn.LSTM(1, 3, proj_size=3), ValueError, "has to be smaller than hidden_size"),
        (lambda x: nn.LSTM(1, 3, dropout=2), ValueError, "dropout should be a number in range"),
        (lambda x: nn.GRUCell(1, 3)(x), ValueError, "Expected input to be 1D or 2D, got 3D"),
        (lambda x: nn.MultiheadAttention(4, 3), AssertionError, "divisible by num_heads"),
        (lambda x: nn.Conv2d(3, 4, 3, groups=2), ValueError, "in_channels must be divisible by"),
        (lambda x: nn.Conv2d(1, 1, 3, 2, "same"), ValueError, "not supported for strided"),
        (lambda x: nn.BatchNorm2d(1)(x), ValueError, r"expected 4D input \(got 3D input\)"),
        (lambda x: nn.GroupNorm(2, 3), ValueError, "must be divisible by num_groups"),
        (lambda x: nn.Dropout(2), ValueError, "between 0 and 1, but got 2"),
        (lambda x: nn.Embedding(2, 3, 5), AssertionError, "must be within num_embeddings"),
        (lambda x: nn.init.xavier_normal_(x[0, 0]), ValueError, "fewer than 2 dimensions"),
        (lambda x: nn.init.calculate_gain("no"), ValueError, "Unsupported nonlinearity no"),
    ],
)
def test_misuse(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(torch.ones(3, 2, 1))


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return x.triu() + x.triu(1).t()


def test_parametrize() -> None:
    layer = nn.Linear(3, 3)
    original = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert type(layer).__name__ == "ParametrizedLinear"
    assert layer.weight.tolist() == layer.weight.t().tolist()
    assert list(layer.state_dict()) == ["bias", "parametrizations.weight.original"]
    assert layer.parametrizations.weight.original is original
    layer(torch.ones(1, 3)).sum().backward()
    assert original.grad is not None
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert copy.deepcopy(layer).weight.tolist() == layer.weight.tolist()
    value = layer.weight.tolist()
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear
    assert layer.weight is original
    assert layer.weight.tolist() == value


def test_parametrization_that_changes_the_shape() -> None:
    class Longer(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.cat([x, x])

    with pytest.raises(ValueError, match="may not change the shape"):
        parametrize.register_parametrization(nn.Linear(1, 1), "weight", Longer())


def test_weight_norm() -> None:
    layer = nn.Linear(2, 2)
    before = layer.weight.flatten().tolist()
    parametrizations.weight_norm(layer)
    assert layer.weight.flatten().tolist() == pytest.approx(before, abs=1e-6)
    assert layer.parametrizations.weight.original0.shape == (2, 1)
    with pytest.warns(FutureWarning, match="weight_norm. is deprecated"):
        old = nn.utils.weight_norm(nn.Linear(2, 2))
    assert list(old.state_dict()) == ["bias", "weight_g", "weight_v"]
    nn.utils.remove_weight_norm(old)
    assert list(old.state_dict()) == ["bias", "weight"]


def test_spectral_norm() -> None:
    layer = parametrizations.spectral_norm(nn.Linear(3, 4), n_power_iterations=5)
    largest = np.linalg.norm(layer.weight.detach().numpy(), 2)
    assert largest == pytest.approx(1.0, abs=0.05)
    old = nn.utils.spectral_norm(nn.Linear(3, 4))
    assert list(old.state_dict()) == ["bias", "weight_orig", "weight_u", "weight_v"]
    nn.utils.remove_spectral_norm(old)
    assert list(old.state_dict()) == ["bias", "weight"]


def test_lazy_layers_become_plain() -> None:
    net = nn.Sequential(nn.LazyConv2d(2, 3), nn.Flatten(), nn.LazyLinear(4))
    saved = net.state_dict()
    assert repr(saved["2.weight"]) == "<UninitializedParameter>"
    twin = copy.deepcopy(net)
    net(torch.ones(1, 3, 4, 4))
    assert repr(net[0]) == "Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1))"
    assert type(net[2]) is nn.Linear
    assert net[2].weight.shape == (4, 8)
    twin.load_state_dict(net.state_dict())
    assert twin[2].weight.tolist() == net[2].weight.tolist()
    with pytest.raises(RuntimeError, match="Can't access the shape of an uninitialized"):
        _ = nn.LazyLinear(1).weight.shape


def test_functional_call() -> None:
    layer = nn.Linear(2, 1)
    weight = layer.weight
    out = functional_call(
        layer, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, torch.ones(2)
    )
    assert out.item() == 2.0
    assert layer.weight is weight
    with pytest.raises(RuntimeError, match="Missing key"):
        functional_call(layer, {}, torch.ones(2), strict=True)


def test_fusing_batch_norm() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))
    x = torch.randn(4, 2, 5, 5)
    net(x)
    net.eval()
    fused = nn.utils.fuse_conv_bn_eval(net[0], net[1])
    assert (fused(x) - net(x)).abs().max().item() < 1e-5
