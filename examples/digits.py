"""A small convolutional network learns handwritten digits, in one process or on many ranks.

    python examples/digits.py
    distrib run --nproc-per-node 2 examples/digits.py
    mpirun -n 2 python examples/digits.py

It is plain PyTorch: with `import torch` in place of `import distrib as torch` it runs there, under
torchrun. The 1797 images of 8x8 pixels come with scikit-learn; nothing is downloaded. The batch
size is that of all ranks together, and the network has no dropout and no batch norm, so that the
loss of a step does not depend on the number of ranks.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import distrib as torch

nn, dist = torch.nn, torch.distributed
functional, data = torch.nn.functional, torch.utils.data


class Net(nn.Module):
    """Two convolutions and two linear layers: [B, 1, 8, 8] to [B, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm = nn.GroupNorm(4, 32)
        self.fc1 = nn.Linear(32 * 4 * 4, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        """The scores of the ten digits."""
        x = functional.relu(self.conv1(x))
        x = functional.relu(self.norm(self.conv2(x)))
        x = torch.flatten(functional.max_pool2d(x, 2), 1)
        return self.fc2(functional.relu(self.fc1(x)))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=64, help="of all ranks together")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=100, help="steps until the full --lr")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="stop after this many steps in all")
    parser.add_argument("--checkpoint", metavar="FILE", help="written after each epoch by rank 0")
    parser.add_argument("--resume", action="store_true", help="continue from --checkpoint")
    parser.add_argument("--loss-log", metavar="FILE", help="one line a step: its number and loss")
    parser.add_argument("--no-progress", action="store_true", help="print the final line only")
    args = parser.parse_args()
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


def digits(seed: int) -> tuple[Any, Any]:
    """Training and test sets, 1437 and 360 images of [1, 8, 8] in 0..1 with their labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    y = torch.tensor(labels, dtype=torch.int64)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    test, train = order[:360], order[360:]
    return data.TensorDataset(x[train], y[train]), data.TensorDataset(x[test], y[test])


class Progress:
    """A bar on rank 0: a moving one on a terminal, else a line an epoch."""

    def __init__(self, steps: int, epochs: int, shown: bool) -> None:
        self.steps, self.epochs, self.shown = steps, epochs, shown
        self.bar: Any = None

    def __enter__(self) -> "Progress":
        if self.shown and sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
            self.bar = Bar(
                *columns, TimeRemainingColumn(), TextColumn("loss {task.fields[loss]:.4f}")
            )
            self.task = self.bar.add_task("training", total=self.steps * self.epochs, loss=0.0)
            self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.bar:
            self.bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Show that a step is done."""
        if self.bar:
            self.bar.update(self.task, completed=step, loss=loss)

    def epoch(self, epoch: int, loss: float, accuracy: float) -> None:
        """Show that an epoch is done."""
        if not self.shown:
            return
        done = "#" * (20 * epoch // self.epochs)
        text = (
            f"epoch {epoch:2}/{self.epochs} [{done:.<20}] loss {loss:.4f} accuracy {accuracy:.2%}"
        )
        if self.bar:
            self.bar.console.print(text, highlight=False, markup=False)
        else:
            print(text, flush=True)


def accuracy_of(model: Any, test: Any, rank: int, world_size: int) -> float:
    """The share of right answers; each rank looks at its part of the test set."""
    model.eval()
    counts = torch.zeros(2)
    with torch.no_grad():
        images, labels = test[rank::world_size]
        right = model(images).argmax(dim=1) == labels
        counts[0], counts[1] = right.sum(), len(labels)
    dist.all_reduce(counts)
    model.train()
    return (counts[0] / counts[1]).item()


def save(path: str, content: dict[str, Any]) -> None:
    """Write a checkpoint so that there is always a whole one."""
    torch.save(content, path + ".new")
    os.replace(path + ".new", path)


@contextmanager
def appended(path: str | None, shown: bool) -> Iterator[TextIO | None]:
    """A file to append to, on the rank that writes."""
    if path is None or not shown:
        yield None
    else:
        with open(path, "a") as file:
            yield file


def train(args: argparse.Namespace, rank: int, world_size: int) -> float:
    """Train as the arguments say, and return the accuracy on the test set."""
    if args.batch_size % world_size:
        raise SystemExit(f"--batch-size {args.batch_size} is not divisible by {world_size} ranks")
    torch.manual_seed(args.seed)
    train_set, test_set = digits(args.seed)
    sampler = data.DistributedSampler(train_set, world_size, rank, seed=args.seed, drop_last=True)
    local = args.batch_size // world_size
    loader = data.DataLoader(train_set, local, sampler=sampler, drop_last=True)
    net = Net()
    model = nn.parallel.DistributedDataParallel(net)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.lr)
    first = 0
    if args.resume and os.path.exists(args.checkpoint):
        saved = torch.load(args.checkpoint)
        net.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["rng"])
        first = saved["epoch"]
    step, accuracy = first * len(loader), 0.0
    last = args.epochs * len(loader) if args.steps is None else args.steps
    shown = rank == 0 and not args.no_progress
    with (
        Progress(len(loader), args.epochs, shown) as progress,
        appended(args.loss_log, rank == 0) as log,
    ):
        for epoch in range(first, args.epochs):
            sampler.set_epoch(epoch)
            for images, labels in loader:
                if step >= last:
                    break
                for group in optimizer.param_groups:
                    group["lr"] = args.lr * min(1.0, (step + 1) / args.warmup)
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                mean = loss.detach()
                dist.all_reduce(mean)
                mean = mean.item() / world_size
                step += 1
                progress.step(step, mean)
                if log:
                    print(step, f"{mean:.9g}", file=log)
            if step >= last and step < (epoch + 1) * len(loader):
                break
            accuracy = accuracy_of(net, test_set, rank, world_size)
            progress.epoch(epoch + 1, mean, accuracy)
            if args.checkpoint and rank == 0:
                content = {"model": net.state_dict(), "optimizer": optimizer.state_dict()}
                save(args.checkpoint, content | {"epoch": epoch + 1, "rng": torch.get_rng_state()})
    return accuracy_of(net, test_set, rank, world_size)


def main() -> None:
    """Join the other ranks, train, and tell the accuracy."""
    args = arguments()
    dist.init_process_group()
    rank, world_size = dist.get_rank(), dist.get_world_size()
    began = time.perf_counter()
    accuracy = train(args, rank, world_size)
    if rank == 0:
        seconds = time.perf_counter() - began
        print(
            f"test accuracy {accuracy:.2%} on {world_size} rank(s) after {seconds:.1f} s",
            flush=True,
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
