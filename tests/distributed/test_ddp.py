"""DistributedDataParallel: the ranks together do what one process does with the whole batch."""

import threading

import numpy as np
import pytest

import distrib as torch
import distrib.distributed as dist
from distrib import nn
from distrib.nn.parallel import DataParallel, DistributedDataParallel

BATCH = 12  # divisible by 1, 2, 3 and 4 ranks
_seeding = threading.Lock()  # thread ranks share one default generator


def numbers(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape).astype("f4"))


class Net(nn.Module):
    """Two layers, a head that is not always used, and a buffer."""

    def __init__(self, seed=0, hidden=8):
        super().__init__()
        with _seeding:
            torch.manual_seed(seed)
            self.first, self.second = nn.Linear(4, hidden), nn.Linear(hidden, 3)
            self.extra = nn.Linear(hidden, 3)
        self.register_buffer("seen", torch.tensor(seed))

    def forward(self, x, extra=True):
        h = torch.relu(self.first(x))
        return {"y": self.second(h) + self.extra(h) if extra else self.second(h)}


def loss_of(model, x, **kwargs):
    return (model(x, **kwargs)["y"] ** 2).mean()


def part(x, rank):
    return x[rank :: dist.get_world_size()]


def gradients(module):
    return {
        n: None if p.grad is None else p.grad.numpy().copy() for n, p in module.named_parameters()
    }


def whole(x, **kwargs):
    net = Net()
    loss_of(net, x, **kwargs).backward()
    return gradients(net)


def close(got, expected):
    for name, g in expected.items():
        np.testing.assert_allclose(got[name], g, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("cap_mb", [None, 0.0001])
@pytest.mark.parametrize("as_views", [False, True])
def test_gradients_are_those_of_the_whole_batch(world, cap_mb, as_views):
    x = numbers(BATCH, 4)

    def body(rank):
        net = DistributedDataParallel(
            Net(seed=rank), bucket_cap_mb=cap_mb, gradient_as_bucket_view=as_views
        )
        for _ in range(2):
            net.zero_grad()
            loss_of(net, part(x, rank)).backward()
            close(gradients(net.module), whole(x))

    world(body)


def test_training_ends_with_the_same_bits_on_all_ranks(world):
    x = numbers(BATCH, 4)

    def body(rank):
        net = DistributedDataParallel(Net(seed=rank))
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
        losses = []
        for _ in range(5):
            optimizer.zero_grad()
            loss = loss_of(net, part(x, rank))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        every = [None] * dist.get_world_size()
        dist.all_gather_object(every, [p.detach().numpy().tobytes() for p in net.parameters()])
        assert all(bits == every[0] for bits in every)
        alone = Net()
        optimizer = torch.optim.AdamW(alone.parameters(), lr=0.01)
        for _ in range(5):
            optimizer.zero_grad()
            loss_of(alone, x).backward()
            optimizer.step()
        for p, q in zip(net.parameters(), alone.parameters(), strict=True):
            np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-3, atol=1e-5)

    world(body)


def test_starts_from_rank_0(world):
    def body(rank):
        net = DistributedDataParallel(Net(seed=rank))
        for p, q in zip(net.parameters(), Net(seed=0).parameters(), strict=True):
            np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
        assert net.module.seen.item() == 0
        own = DistributedDataParallel(Net(seed=rank), init_sync=False)
        assert own.module.seen.item() == rank

    world(body)


@pytest.mark.parametrize("sync", [True, False])
def test_buffers_follow_rank_0(world, sync):
    def body(rank):
        net = DistributedDataParallel(Net(), broadcast_buffers=sync)
        assert net.will_sync_module_buffers() is sync
        net.module.seen.fill_(rank + 5)
        loss_of(net, numbers(2, 4))
        assert net.module.seen.item() == (5 if sync else rank + 5)

    world(body)


def test_no_sync_accumulates_locally(world):
    x = numbers(2 * BATCH, 4)

    def body(rank):
        net = DistributedDataParallel(Net())
        mine = part(x, rank)
        half = len(mine) // 2
        with net.no_sync():
            assert not net.require_backward_grad_sync
            loss_of(net, mine[:half]).backward()
        alone = Net()
        loss_of(alone, mine[:half]).backward()
        close(gradients(net.module), gradients(alone))
        loss_of(net, mine[half:]).backward()
        close(gradients(net.module), {n: 2 * g for n, g in whole(x).items()})

    world(body)


def test_unused_parameters(world):
    x = numbers(BATCH, 4)

    def body(rank):
        net = DistributedDataParallel(Net(), find_unused_parameters=True)
        loss_of(net, part(x, rank), extra=False).backward()
        assert net.module.extra.weight.grad is None
        expected = whole(x, extra=False)
        close(gradients(net.module), {n: g for n, g in expected.items() if g is not None})
        net.zero_grad()
        loss_of(net, part(x, rank), extra=rank == 0).backward()  # only rank 0 uses it
        every = [None] * dist.get_world_size()
        dist.all_gather_object(every, gradients(net.module))
        for other in every:
            close(other, every[0])
        assert np.abs(every[0]["extra.weight"]).sum() > 0

    world(body)


def test_unused_parameters_unannounced(world):
    def body(rank):
        net = DistributedDataParallel(Net())
        loss_of(net, numbers(3, 4), extra=False).backward()
        with pytest.raises(
            RuntimeError, match=r"(?s)Expected to have finished.*extra.weight, extra.bias"
        ):
            net(numbers(3, 4))

    world(body)


def test_static_graph_remembers_what_is_unused(world):
    x = numbers(BATCH, 4)

    def body(rank):
        net = DistributedDataParallel(Net(), static_graph=True)
        for _ in range(3):
            net.zero_grad()
            loss_of(net, part(x, rank), extra=False).backward()
        expected = whole(x, extra=False)
        close(gradients(net.module), {n: g for n, g in expected.items() if g is not None})

    world(body)


def test_evaluation_and_graphless_forwards(world):
    def body(rank):
        net = DistributedDataParallel(Net())
        with torch.no_grad():
            assert not net(numbers(2, 4))["y"].requires_grad
        net(numbers(2, 4))
        loss_of(net, numbers(2, 4)).backward()

    world(body)


def test_two_backwards_of_one_forward(world):
    x = numbers(BATCH, 4)

    def body(rank):
        net = DistributedDataParallel(Net())
        loss = loss_of(net, part(x, rank))
        loss.backward(retain_graph=True)
        loss.backward()
        close(gradients(net.module), {n: 2 * g for n, g in whole(x).items()})

    world(body)


def test_frozen_and_shared_parameters(world):
    x = numbers(BATCH, 4)

    def build():
        net = Net(hidden=3)
        net.extra.weight = net.second.weight
        net.first.bias.requires_grad_(False)
        return net

    def body(rank):
        net, alone = DistributedDataParallel(build()), build()
        loss_of(net, part(x, rank)).backward()
        loss_of(alone, x).backward()
        close(gradients(net.module), {n: g for n, g in gradients(alone).items() if g is not None})
        assert net.module.first.bias.grad is None

    world(body)


def test_state_dict_and_attributes(world):
    def body(rank):
        net = DistributedDataParallel(Net())
        assert list(net.state_dict())[:3] == [
            "module.seen",
            "module.first.weight",
            "module.first.bias",
        ]
        net.load_state_dict(DistributedDataParallel(Net(seed=3)).state_dict())
        assert repr(net).startswith(
            "DistributedDataParallel(\n  (module): Net(\n    (first): Linear("
        )
        assert net.process_group is dist.group.WORLD
        assert net.device == torch.device("cpu")
        assert net.train(False).module.training is False

    world(body)


def test_ranks_with_other_models(world):
    def body(rank):
        size = dist.get_world_size()
        if size == 1:
            return
        with pytest.raises(
            RuntimeError, match=rf"'first.weight' of rank {size - 1} .*\[8, 4\].*\[9, 4\]"
        ):
            DistributedDataParallel(Net(hidden=9 if rank == size - 1 else 8))

    world(body)


def test_a_group_of_its_own(world):
    x = numbers(BATCH, 4)

    def body(rank):
        mine, _ = dist.new_subgroups(1)
        net = DistributedDataParallel(Net(seed=rank), process_group=mine)
        loss_of(net, part(x, rank)).backward()
        alone = Net(seed=rank)
        loss_of(alone, part(x, rank)).backward()
        close(gradients(net.module), gradients(alone))

    world(body)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (
            lambda: DistributedDataParallel(nn.ReLU()),
            RuntimeError,
            "is not needed when a module doesn't",
        ),
        (lambda: DistributedDataParallel(Net(), device_ids=[0]), ValueError, r"device_ids \[0\]"),
        (
            lambda: DistributedDataParallel(Net(), mixed_precision=3),
            NotImplementedError,
            "mixed_precision",
        ),
        (lambda: DistributedDataParallel(Net(), process_group=7), ValueError, "not registered"),
    ],
)
def test_misuse(world, make, kind, text):
    def body(rank):
        with pytest.raises(kind, match=text):
            make()

    world(body)


def test_needs_a_process_group():
    with pytest.raises(ValueError, match="Default process group has not been initialized"):
        DistributedDataParallel(Net())


def test_data_parallel_is_the_module_on_its_device():
    net = Net()
    wrapped = DataParallel(net)
    x = numbers(3, 4)
    np.testing.assert_array_equal(wrapped(x)["y"].detach().numpy(), net(x)["y"].detach().numpy())
    assert "module.first.weight" in wrapped.state_dict()
    with pytest.warns(UserWarning, match="DistributedDataParallel"):
        DataParallel(net, device_ids=[0, 1])
