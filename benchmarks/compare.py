"""Time the same work under distrib and PyTorch, in turns: ratios of processor time.

python -P benchmarks/compare.py [call] [step] [--seconds S] [--json FILE]
"""

import argparse
import importlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time

MODULES = ("torch", "distrib")


def calls(torch):
    """Small calls, where the framework and not the arithmetic is the work."""
    a, b = torch.randn(32, 32), torch.randn(32, 32)
    x, y = torch.randn(32, 32, requires_grad=True), torch.randn(32, 32, requires_grad=True)
    linear = torch.nn.Linear(32, 32)
    return {
        "call: add": lambda: a + b,
        "call: add, recorded": lambda: x + y,
        "call: index a[1:, 2:]": lambda: a[1:, 2:],
        "call: reshape, transpose": lambda: a.reshape(16, 64).transpose(0, 1),
        "call: sum(dim=1)": lambda: a.sum(dim=1),
        "call: Linear": lambda: linear(a),
        "call: (x*y + x).sum().backward()": lambda: (x * y + x).sum().backward(),
        "call: item()": lambda: a[0, 0].item(),
    }


def mlp(nn):
    """784-512-256-128-10 with batch norm and dropout."""
    layers, width = [], 784
    for hidden in (512, 256, 128):
        layers += [nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.5)]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, 10))


def convnet(nn):
    """Three blocks of convolution, batch norm, relu, pooling on 3x32x32."""
    layers, width = [], 3
    for channels in (32, 64, 128):
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.BatchNorm2d(channels)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
        width = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(2048, 512), nn.ReLU(), nn.Linear(512, 10))


def steps(torch):
    """Whole training steps with AdamW."""
    found = {}
    for name, model, shape in (
        ("step: mlp", mlp(torch.nn), (64, 784)),
        ("step: convnet", convnet(torch.nn), (32, 3, 32, 32)),
    ):
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        inputs, targets = torch.randn(*shape), torch.randint(0, 10, (shape[0],))

        def step(model=model, optimizer=optimizer, inputs=inputs, targets=targets):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()

        found[name] = step
    return found


KINDS = {"call": calls, "step": steps}


def serve(module):
    """One side: read {"name", "n"} lines, answer seconds per call."""
    torch = importlib.import_module(module)
    torch.manual_seed(0)
    work = {}
    for make in KINDS.values():
        work.update(make(torch))
    for line in sys.stdin:
        request = json.loads(line)
        f = work[request["name"]]
        start = time.process_time()
        for _ in range(request["n"]):
            f()
        print("@", (time.process_time() - start) / request["n"], flush=True)


class Side:
    """A process that holds one of the modules."""

    def __init__(self, module):
        env = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
        }
        command = [sys.executable, "-P", __file__, "--serve", module]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def ask(self, name, n):
        """Seconds of processor time per call."""
        self.process.stdin.write(json.dumps({"name": name, "n": n}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("@"):
                return float(line[1:])
        raise SystemExit(f"a worker ended with {self.process.wait()}")


def compare(sides, name, seconds, rounds=11):
    """Medians of both sides, and of the ratio with its quartiles."""
    for side in sides:
        side.ask(name, 1)
    counts = [max(1, int(seconds / rounds / max(s.ask(name, 3), 1e-6))) for s in sides]
    pairs = [tuple(s.ask(name, n) for s, n in zip(sides, counts)) for _ in range(rounds)]
    ratios = sorted(b / a for a, b in pairs)
    low, high = ratios[rounds // 4], ratios[-1 - rounds // 4]
    a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(ratios)
    return {"torch_s": a, "distrib_s": b, "ratio": ratio, "low": low, "high": high}


def main():
    """Parse the command line, measure, print, and keep the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help="call, step (default: both)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each side and case")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)
    unknown = set(args.kinds) - set(KINDS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there is {', '.join(KINDS)}")
    torch, distrib = (importlib.import_module(m) for m in MODULES)
    names = [name for kind in args.kinds for name in KINDS[kind](distrib)]
    sides = [Side(m) for m in MODULES]
    results = {}
    for name in names:
        r = results[name] = compare(sides, name, args.seconds)
        print(
            f"{name:36} torch {r['torch_s'] * 1e6:10.1f} us   distrib {r['distrib_s'] * 1e6:10.1f} us   "
            f"ratio {r['ratio']:.2f} ({r['low']:.2f}-{r['high']:.2f})",
            flush=True,
        )
    mean = math.exp(sum(math.log(r["ratio"]) for r in results.values()) / len(results))
    print(f"geometric mean of the ratios: {mean:.2f} over {len(results)} cases")
    for side in sides:
        side.process.kill()
    if args.json:
        kernels = importlib.import_module("distrib.kernels")
        about = {
            "torch": torch.__version__, "distrib": distrib.__version__, "isa": kernels.isa(),
            "python": platform.python_version(), "threads": 1, "clock": "processor time",
        }  # fmt: skip
        with open(args.json, "w") as f:
            json.dump({"about": about, "geometric_mean": mean, "results": results}, f, indent=1)
    return None


if __name__ == "__main__":
    main()
