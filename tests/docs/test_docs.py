"""README and docs: every link leads somewhere, every command line composes. Nothing here uses a network."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from src.cli.script import ScriptParser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
LINK = re.compile(r"(?<!`)!?\[[^\]\n]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"# conf/(\S+\.yaml)\n")
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
LABEL = re.compile(r"^\((.+)\)=$", re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """The fragments that lead into a page: its headings as GitHub and MyST name them, and its labels."""
    text = prose(page)
    names = [
        re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(text)
    ]
    return frozenset([*names, *LABEL.findall(text)])


def broken_links(page: Path) -> Iterator[str]:
    """The links of a page that lead nowhere in this checkout; those to other hosts are not looked at."""
    for link in LINK.findall(prose(page)):
        place, _, fragment = link.partition("#")
        if place.startswith(("http://", "https://", "mailto:")):
            continue
        target = (page.parent / place).resolve() if place else page
        if not target.exists():
            yield f"{link}: no file {place}"
        elif fragment and target.suffix == ".md" and fragment not in anchors(target):
            yield f"{link}: no heading or label {fragment}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_anchor_of_a_page_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def command_lines() -> list[str]:
    """Return every shell command of the pages that runs our modules, lines joined, comments cut, each once."""
    found = []
    for page in PAGES:
        for block in FENCE.finditer(page.read_text(encoding="utf-8")):
            if block["language"] != "bash":
                continue
            lines = block["body"].replace("\\\n", " ").splitlines()
            found += [
                re.sub(r"\s+", " ", line.partition("  #")[0]).strip()
                for line in lines
                if re.search(r"-m (src|scripts)\.", line)
            ]
    return list(dict.fromkeys(found))


def first_value(override: str) -> str:
    """An override as the first job of a multirun has it."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_sweep_override():
        return override
    if "glob(" in override:
        return f"{parsed.get_key_element()}=full"
    value = override.partition("=")[2]
    return (
        f"{parsed.get_key_element()}={value.partition(',')[0]}"
        if "," in value and "(" not in value
        else f"{parsed.get_key_element()}=1"
    )


def hydra_config(module: str) -> Path | None:
    """The configuration that a module's command composes; None for commands without one."""
    path = ROOT / "conf" / f"{module.rpartition('.')[2]}.yaml"
    return path if path.is_file() else None


class UnderstoodError(Exception):
    """A script has parsed its arguments."""


def parse_only(parser: ScriptParser, task: object, words: list[str] | None = None) -> None:
    """Stand in for `ScriptParser.run`: parse the arguments and do nothing."""
    given = sys.argv[1:] if words is None else words
    parser.parse_args([parser._as_option(word) for word in given])
    raise UnderstoodError


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of conf/ with the files that the pages under contributing/ tell a reader to add."""
    copy = tmp_path_factory.mktemp("docs") / "conf"
    shutil.copytree(ROOT / "conf", copy)
    for page in PAGES:
        for block in FENCE.finditer(page.read_text(encoding="utf-8")):
            if block["language"] == "yaml" and (place := EXAMPLE.match(block["body"])):
                (copy / place[1]).write_text(block["body"], encoding="utf-8")
    return copy


def test_the_worked_examples_add_files(conf: Path) -> None:
    assert {path.name for path in conf.rglob("*.yaml")} - {path.name for path in (ROOT / "conf").rglob("*.yaml")} == {
        "mobilenetv3_small.yaml",
        "fish.yaml",
        "wide.yaml",
    }


@pytest.mark.slow
def test_the_worked_example_adds_a_measure(tmp_path: Path) -> None:
    """What the page adds is added to a copy of the package; then its test and its doctest pass."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    blocks = FENCE.finditer((ROOT / "docs/contributing/add-a-measure.md").read_text(encoding="utf-8"))
    pieces = dict(block["body"].removeprefix("# ").split("\n", 1) for block in blocks if block["language"] == "python")
    for heading, piece in pieces.items():
        path = tmp_path / re.split(r"[, ]", heading)[0]
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        if ", in " in heading:  # at the start of a table
            table = re.compile(rf"^{heading.rpartition(' ')[2]}\b.*[({{]$", re.MULTILINE)
            text, count = table.subn(lambda line, piece=piece: f"{line[0]}\n{piece}", text)  # type: ignore[misc]
            assert count == 1, heading
        else:
            text += piece
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    tests = ["tests", "src/metrics/functional/objects.py", "--doctest-modules", "--import-mode=importlib"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir=.", "--override-ini=pythonpath=."]
    ran = subprocess.run([*command, *tests], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "4 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("line", command_lines())
def test_every_command_line_is_understood(line: str, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of a command compose; arguments of a script are parsed."""
    words = shlex.split(line.split(" -m ", 1)[1])
    module, overrides = words[0], [word for word in words[1:] if word not in ("-m", "…")]
    assert find_spec(module) is not None, module
    config = hydra_config(module)
    if config is None:
        monkeypatch.setattr(ScriptParser, "run", parse_only)
        monkeypatch.setattr(sys, "argv", words)
        is_package = bool(find_spec(module).submodule_search_locations)  # type: ignore[union-attr]
        with pytest.raises(UnderstoodError):
            import_module(f"{module}.__main__" if is_package else module).main()
        return
    overrides = [first_value(word) for word in overrides if not word.startswith("-")]
    if any(word.startswith("sweep=") for word in overrides):
        overrides = [word for word in overrides if not word.startswith(("sweep=", "hydra.sweeper."))]
    overrides = [word for word in overrides if not word.startswith(("hydra/launcher", "hydra.launcher"))]
    with initialize_config_dir(str(conf), version_base="1.3"):
        assert compose(config.stem, overrides)


def python_imports() -> list[str]:
    """Every import of this project in the Python blocks of the pages, except in files that a reader is to add."""
    blocks = [
        block["body"]
        for page in PAGES
        for block in FENCE.finditer(page.read_text(encoding="utf-8"))
        if block["language"] == "python" and not block["body"].startswith("# src/")
    ]
    return sorted(
        {line for block in blocks for line in block.splitlines() if line.startswith(("from src", "import src"))}
    )


@pytest.mark.parametrize("line", python_imports())
def test_every_import_of_the_pages_works(line: str) -> None:
    exec(line, {})


def test_the_pages_have_commands_and_links_to_look_at() -> None:
    """The two tests above pass on empty lists, so the lists must not be empty."""
    assert len(command_lines()) > 30
    assert python_imports()
    assert sum(len(LINK.findall(prose(page))) for page in PAGES) > 50


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900
