"""The files of the repository, as tracked by git or about to be, and what they import."""

import ast
import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# folders that are installed, and the import name of each; the longest prefix decides
PACKAGES = {"distrib": "distrib", "kernels": "distrib.kernels", "launcher": "distrib.launcher"}


def hidden(name: str | Path) -> bool:
    """Whether a name is an environment, a cache or a product of the build."""
    text = str(name)
    cache = text in ("build", "dist", "__pycache__", "site", "venv") or text.endswith(".egg-info")
    return cache or (text[0] == "." and text not in (".ci", ".gitignore")) or text.endswith(".so")


@functools.cache
def tracked() -> list[Path]:
    """Every file that is or would be committed, without the licence text."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found = {ROOT / line for line in done.stdout.splitlines()}
    except (OSError, subprocess.CalledProcessError):  # unpacked from an archive
        inner = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        found = {ROOT / p for p in inner if not any(map(hidden, p.parts[:-1])) and not hidden(p)}
    return sorted(path for path in found if path.is_file() and path != ROOT / "LICENSE")


def sources() -> dict[str, Path]:
    """Import name -> file of everything that is installed."""
    found = {}
    for path in tracked():
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path.suffix == ".py" and parts[0] in PACKAGES:
            name = ".".join((PACKAGES[parts[0]], *parts[1:]))
            found[name.removesuffix(".__init__")] = path
    return found


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(), str(path))


def imports(name: str, path: Path) -> list[tuple[int, str]]:
    """(line, full name) of each import in a file, at the top and inside functions."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{stem}.{alias.name}") for alias in node.names]
    return found
