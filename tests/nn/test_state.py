"""state_dict and load_state_dict: keys, metadata, hooks, errors to the letter."""

import copy
import pickle
from collections import OrderedDict
from typing import Any

import pytest

import distrib as torch
from distrib import nn


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def test_keys_metadata_prefix_and_aliases() -> None:
    model = net()
    state = model.state_dict()
    assert type(state) is OrderedDict
    assert list(state) == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
    ]
    assert dict(state._metadata) == {"": {"version": 1}, "0": {"version": 1}, "1": {"version": 2}}
    assert not state["0.weight"].requires_grad
    state["0.bias"][0] = 7.0
    assert model[0].bias[0].item() == 7.0
    assert model.state_dict(keep_vars=True)["0.weight"] is model[0].weight
    assert list(model[0].state_dict(prefix="a.")) == ["a.weight", "a.bias"]


def test_load_round_trip() -> None:
    one, two = net(), net()
    result = two.load_state_dict(one.state_dict())
    assert repr(result) == "<All keys matched successfully>"
    assert two[0].weight.tolist() == one[0].weight.tolist()
    assert two[0].weight is not one[0].weight


def test_all_errors_are_listed_with_pytorchs_text() -> None:
    state = net().state_dict()
    state["0.weight"] = torch.ones(2, 2)
    state["1.bias"] = 3
    del state["0.bias"]
    state["x"] = state["0.y.z"] = torch.ones(1)
    with pytest.raises(RuntimeError) as caught:
        net().load_state_dict(state)
    assert str(caught.value) == (
        "Error(s) in loading state_dict for Sequential:\n"
        '\tMissing key(s) in state_dict: "0.bias". \n'
        '\tUnexpected key(s) in state_dict: "x", "0.y.z". \n'
        "\tsize mismatch for 0.weight: copying a param with shape torch.Size([2, 2]) from "
        "checkpoint, the shape in current model is torch.Size([3, 2]).\n"
        '\tWhile copying the parameter named "1.bias", expected torch.Tensor or Tensor-like object '
        "from checkpoint but received <class 'int'>"
    )


def test_not_strict_returns_the_differences_but_not_sizes() -> None:
    model = nn.Linear(2, 3)
    result = model.load_state_dict({"weight": torch.ones(3, 2), "x": torch.ones(1)}, strict=False)
    assert result.missing_keys == ["bias"]
    assert result.unexpected_keys == ["x"]
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        model.load_state_dict({"weight": torch.ones(1)}, strict=False)
    with pytest.raises(TypeError, match="Expected state_dict to be dict-like, got <class 'int'>"):
        model.load_state_dict(3)


def test_assign_takes_the_tensors_over() -> None:
    model = nn.Linear(2, 1, device="meta")
    weight = torch.ones(1, 2).double()
    model.load_state_dict({"weight": weight, "bias": torch.zeros(1)}, assign=True)
    assert type(model.weight) is nn.Parameter
    assert model.weight.dtype is torch.float64
    weight[0, 0] = 5.0
    assert model.weight.tolist() == [[5.0, 1.0]]


def test_copying_into_meta_warns() -> None:
    with pytest.warns(UserWarning, match="copying from a non-meta parameter"):
        nn.Linear(1, 1, bias=False, device="meta").load_state_dict({"weight": torch.ones(1, 1)})


def test_old_batch_norm_files_have_no_counter() -> None:
    model = nn.BatchNorm1d(2)
    state = {k: v for k, v in model.state_dict().items() if k != "num_batches_tracked"}
    model.load_state_dict(state)
    assert model.num_batches_tracked.item() == 0


def test_extra_state() -> None:
    class Extra(nn.Module):
        value = 1

        def get_extra_state(self) -> Any:
            return {"value": self.value}

        def set_extra_state(self, state: Any) -> None:
            self.value = state["value"]

    state = nn.Sequential(Extra()).state_dict()
    assert state["0._extra_state"] == {"value": 1}
    state["0._extra_state"] = {"value": 9}
    model = nn.Sequential(Extra())
    model.load_state_dict(state)
    assert model[0].value == 9
    with pytest.raises(RuntimeError, match='in state_dict: "_extra_state"'):
        Extra().load_state_dict({})


def test_hooks() -> None:
    model = nn.Linear(1, 1)
    seen: list[Any] = []
    model.register_state_dict_pre_hook(lambda m, prefix, keep: seen.append(prefix))
    model.register_load_state_dict_pre_hook(lambda m, *args: seen.append(m))
    model.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
    model.load_state_dict({**model.state_dict(), "weight": torch.zeros(1, 1)})
    assert seen == ["", model]
    state = {"weight": torch.ones(1, 1)}
    assert model.load_state_dict(state).missing_keys == []
    model.register_state_dict_post_hook(lambda *args: {})
    with pytest.raises(RuntimeError, match="state_dict post-hook must return None"):
        model.state_dict()


def test_copies_are_independent_and_keep_sharing() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, shared, nn.BatchNorm1d(2))
    model[0].weight.grad = torch.ones(2, 2)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert list(twin.state_dict()) == list(model.state_dict())
        assert twin[0] is twin[1]
        assert twin[0].weight is twin[0]._parameters["weight"]
        assert twin[0].weight.tolist() == shared.weight.tolist()
        assert twin[0].weight.grad is None
        twin[0].weight = nn.Parameter(torch.zeros(2, 2))
        assert twin[0]._parameters["weight"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
        assert shared.weight.tolist() != [[0.0, 0.0], [0.0, 0.0]]
        twin.double()
        assert twin[2].running_mean.dtype is torch.float64
        assert model[2].running_mean.dtype is torch.float32


def test_a_copy_calls_its_own_hooks() -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = 0
            self.register_load_state_dict_pre_hook(Hooked.note)

        def note(self, *args: Any) -> None:
            self.count += 1

    model = Hooked()
    twin = copy.deepcopy(model)
    twin.load_state_dict({})
    assert (model.count, twin.count) == (0, 1)


def test_shallow_copy_and_plain_dict_state() -> None:
    model = nn.Linear(1, 1)
    twin = copy.copy(model)
    assert twin.weight is model.weight

    class Own(nn.Linear):
        def __getstate__(self) -> dict[str, Any]:
            return self.__dict__.copy()

    own = copy.deepcopy(Own(1, 1))
    own.weight = nn.Parameter(torch.zeros(1, 1))
    assert own.state_dict()["weight"].item() == 0.0
