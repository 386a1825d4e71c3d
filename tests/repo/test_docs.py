"""The documents agree with the repository."""

import re
import shutil
import subprocess
import tomllib

import pytest
from files import ROOT, tracked

from distrib import config

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def requirements():
    """The name of every distribution that the project asks for."""
    project = PROJECT["project"]
    lists = [PROJECT["build-system"]["requires"], project["dependencies"]]
    lists += project["optional-dependencies"].values()
    return sorted({re.match(r"[\w.-]+", line)[0] for group in lists for line in group})


@pytest.mark.parametrize("name", requirements())
def test_dependencies_are_justified(name):
    assert f"`{name}`" in (ROOT / "docs/decisions.md").read_text()


def test_changelog_has_what_comes_next():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "## Unreleased" in text
    assert "### Breaking" in text


def test_licence_is_the_declared_one():
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


def commands(kind):
    """The text of the README's fenced blocks that are marked as a command to run."""
    pattern = rf"<!-- ci: {kind} -->\n```bash\n(.*?)```"
    return re.findall(pattern, (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("kind", ["train", "test"])
def test_readme_commands_are_one_and_valid(kind):
    found = commands(kind)
    assert len(found) == 1
    done = subprocess.run(["bash", "-n"], input=found[0], text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for path in re.findall(r"\b(?:examples|tests)/[\w./]*", found[0]):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_documents_are_not_empty(document):
    assert len((ROOT / "docs" / document).read_text()) > 200


def test_links_lead_somewhere():
    broken = []
    for path in tracked():
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", path.read_text()):
                if not (path.parent / target).exists():
                    broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken, "\n".join(broken)


def test_variables_are_described():
    text = (ROOT / "README.md").read_text()
    assert "distrib.config" in text
    assert all(v.help for v in config.VARIABLES.values())


def test_shell_scripts_parse():
    scripts = [p for p in tracked() if p.suffix in (".sh", ".sbatch") or p.match(".ci/*")]
    assert ROOT / ".ci/run" in scripts
    assert shutil.which("bash")
    for path in scripts:
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
