"""A whole training program under PyTorch and under distrib: the same losses, the same random stream.

Only the first steps can be compared to the digit. A bias in front of a batch norm has a gradient of pure
rounding noise, which Adam scales to full steps: later PyTorch differs from itself with another number
of threads.
"""

import numpy as np
import pytest

import distrib

STEPS = 15


def train(torch):
    """Losses, gradient norms and the random state after some steps of classification."""
    nn, data = torch.nn, torch.utils.data
    torch.manual_seed(0)
    dataset = data.TensorDataset(torch.randn(2000, 64), torch.randint(0, 10, (2000,)))
    train_set, _ = data.random_split(dataset, [1600, 400])
    loader = data.DataLoader(train_set, batch_size=64, shuffle=True)
    layers, width = [], 64
    for hidden in (96, 64, 32):
        layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.5)]
        width = hidden
    model = nn.Sequential(*layers, nn.Linear(width, 10))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.001, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    losses, norms = [], []
    for step, (inputs, targets) in enumerate(loader):
        if step == STEPS:
            break
        optimizer.zero_grad()
        loss = criterion(model(inputs), targets)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0).item())
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses, norms, torch.get_rng_state().numpy()


def test_training_is_pytorchs():
    torch = pytest.importorskip("torch")
    want, got = train(torch), train(distrib)
    assert got[0] == pytest.approx(want[0], rel=1e-5)
    assert got[1] == pytest.approx(want[1], rel=1e-4)
    np.testing.assert_array_equal(got[2], want[2])
