"""Rules for files: their length, what must not stand in them, and what says what they are."""

import ast
import re

from files import ROOT, sources, tracked, tree

LINES = 500
COUNTED = {".py", ".cpp", ".h", ".cu", ".sh"}
TEXT = COUNTED | {".md", ".toml", ".txt", ".yml", ".yaml", ".cfg", ".sbatch", ".pyi", ""}
# Patterns are put together here so that this file does not match them.
PLACES = re.compile(
    "|".join([r"(?<![\w.~])/(?:ro" "ot|wo" "rk|ho" "me|Us" r"ers)/\w", r"\b[A-Z]:\\"])
)
ADDRESS = re.compile(r"(?<![\w.=])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
# this machine, any address, and the networks that are set aside for examples
EXAMPLES = re.compile(
    r"(127\.|0\.0\.0\.0$|10\.|192\.0\.2\.|198\.51\.100\.|203\.0\.113\.|192\.168\.)"
)
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
SILENCED = re.compile(r"#\s*(type:\s*ig" r"nore|no" r"qa)")


def lines():
    """(place, text) of every line of text in the repository."""
    for path in tracked():
        if path.suffix in TEXT:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                yield f"{path.relative_to(ROOT)}:{number}", line


def test_files_are_short():
    sizes = {p: len(p.read_text().splitlines()) for p in tracked() if p.suffix in COUNTED}
    long = [f"{p.relative_to(ROOT)}: {n}" for p, n in sizes.items() if n >= LINES]
    assert not long, f"files of {LINES} lines or more: {long}"


def test_no_places_of_one_machine():
    found = [f"{where}: {text.strip()}" for where, text in lines() if PLACES.search(text)]
    for where, text in lines():
        strange = [a for a in ADDRESS.findall(text) if not EXAMPLES.match(a)]
        found += [f"{where}: {address}" for address in strange]
    assert not found, "\n".join(found)


def test_the_patterns_find_what_they_should():
    assert PLACES.search("open('/ro" + "ot/data')")
    assert not PLACES.search("s3://bucket/ho" + "me/x is relative; ~/wo" + "rk/x too")
    assert ADDRESS.findall("at 8.8." + "4.4, v1.2.3.4.5, x=1.2.3.4") == ["8.8." + "4.4"]
    assert UNFINISHED.search("# TO" + "DO: later")
    assert SILENCED.search("x = y  # no" + "qa: E402")


def test_nothing_is_left_unfinished_or_silenced():
    found = [
        f"{where}: {text.strip()}"
        for where, text in lines()
        if UNFINISHED.search(text) or SILENCED.search(text)
    ]
    assert not found, "\n".join(found)


def test_every_module_says_what_it_is():
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix == ".py" and path.read_text().strip() and not ast.get_docstring(tree(path))
    ]
    assert not silent, f"no docstring: {silent}"


def test_public_functions_and_classes_are_described():
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    silent = [
        f"{name}.{node.name}"
        for name, path in sources().items()
        for node in tree(path).body
        if isinstance(node, kinds) and node.name[0] != "_" and not ast.get_docstring(node)
    ]
    assert not silent, f"no docstring: {silent}"
