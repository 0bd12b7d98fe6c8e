"""The documents say what the code does: settings, exit codes, commands, links, files, formats and tables."""

import ast
import re
import sqlite3
from pathlib import Path

import pytest

from storefs import errors
from storefs.cli.main import main
from storefs.core import commitheader, keys
from storefs.settings import TABLE
from storefs.tree import schema

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS]
SEMANTICS = (ROOT / "docs" / "SEMANTICS.md").read_text(encoding="utf-8")
FORMAT = (ROOT / "docs" / "FORMAT.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILE = re.compile(r"`((?:storefs|daemon|tests|scripts|docs|benchmarks)/[\w./-]+)`")
"""A path of this repository, as the documents name it."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """Return the anchor that a heading gets."""
    text = heading.replace("&lt;", "<").replace("&gt;", ">").replace("`", "")
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", without_code(page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    return {anchor(heading) for heading in headings}


def section(text: str, heading: str) -> str:
    """Return a section of a page, up to the next heading of its level or above."""
    mark = re.search(rf"^(#+) {re.escape(heading)}$", text, flags=re.MULTILINE)
    assert mark is not None, f"no section {heading!r}"
    rest = text[mark.end() :]
    end = re.search(rf"^#{{1,{len(mark[1])}}} ", rest, flags=re.MULTILINE)
    return rest[: end.start()] if end else rest


def first_cells(text: str) -> list[str]:
    """Return the first cells of all table rows, headings left out."""
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return [cell for at, cell in enumerate(rows) if not set(cell) <= set("- ") and "---" not in [*rows, ""][at + 1]]


def exit_codes() -> set[int]:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StorefsError)]
    return {0, *(kind.exit_code for kind in kinds)}


# --- pages ------------------------------------------------------------------------------------------------------------


@each_page
def test_relative_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        name, _, fragment = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if fragment:
            assert fragment in anchors(path), target


@each_page
def test_files_that_are_named_exist(page):
    for name in FILE.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_the_architecture_names_every_part():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(FILE.findall(text))
    parts = [path for path in (ROOT / "storefs").iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    for part in [*parts, ROOT / "daemon" / "storefsd"]:
        assert f"{part.relative_to(ROOT)}/" in named, part


def test_functions_named_behind_a_file_exist():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    found = re.findall(r"`([\w/]+\.py)` \(`(\w+)`", text)
    assert found
    for file, name in found:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}, (file, name)


@each_page
def test_lines_fit(page):
    lines = without_code(page.read_text(encoding="utf-8")).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|") and "44455332" not in line] == []


def test_decisions_are_numbered_and_complete():
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    for number, path in enumerate(decisions, start=1):
        assert re.fullmatch(rf"{number:04d}-[a-z0-9-]+\.md", path.name), path.name
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {number:04d}. "), path.name
        for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in text, (path.name, part)


# --- what the code has, the documents have ----------------------------------------------------------------------------


def test_every_setting_is_documented_and_no_other():
    documented = [cell.strip("`") for cell in first_cells(section(SEMANTICS, "Settings"))]
    assert documented == [setting.name for setting in TABLE]
    for setting in TABLE:
        assert f"| {setting.help} |" in SEMANTICS, setting.name


def test_every_exit_code_is_documented_and_no_other():
    assert {int(cell) for cell in first_cells(section(SEMANTICS, "Exit codes"))} == exit_codes()


def test_every_command_is_documented():
    documented = {match for cell in first_cells(README) for match in re.findall(r"^`storefs (\w+)", cell)}
    assert documented == set(main.commands)
    for name in main.commands:
        assert f"storefs {name}" in section(SEMANTICS, "Commands"), name


def test_every_dependency_is_argued():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8").split("dependencies = [", 1)[1].split("]", 1)[0]
    text = (ROOT / "docs" / "decisions" / "0001-dependencies.md").read_text(encoding="utf-8")
    for name in re.findall(r'"([\w-]+)', project):
        assert re.search(rf"\b{name}\b", text), name


# --- formats ----------------------------------------------------------------------------------------------------------


def test_the_commit_header_is_as_documented():
    rows = re.findall(r"^\| (\d+) \| (\d+|`stored`) \|", section(FORMAT, "journal/&lt;seq&gt;"), flags=re.MULTILINE)
    at = 0
    for offset, size in rows[:-1]:
        assert int(offset) == at
        at += int(size)
    assert rows[-1] == (str(commitheader.HEADER_BYTES), "`stored`")
    assert at == commitheader.HEADER_BYTES
    for field in commitheader.CommitHeader.__dataclass_fields__:
        assert f"`{field}`" in section(FORMAT, "journal/&lt;seq&gt;"), field


def test_every_key_is_documented():
    text = section(FORMAT, "Keys")
    for key in (keys.STORE_INFO, keys.JOURNAL, keys.SNAPSHOTS, keys.SHARDS, keys.NODES, keys.CHECKS):
        assert f"`{key}" in text, key


def columns(sql: str) -> dict[str, list[str]]:
    """Return the columns of each table of a schema, in order."""
    with sqlite3.connect(":memory:") as database:
        database.executescript(sql)
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        found = {name: [row[1] for row in database.execute(f"PRAGMA table_info({name})")] for name in tables}
    database.close()
    return found


def test_every_replicated_column_is_documented_in_order():
    for table, names in columns(schema.REPLICATED_SQL).items():
        cells = [cell.strip("`") for cell in first_cells(section(FORMAT, table))]
        assert cells == names, table


def test_every_local_column_is_documented():
    text = section(FORMAT, "tree.sqlite: local tables")
    for table, names in columns(schema.LOCAL_SQL).items():
        if table == "sqlite_sequence":
            continue
        assert f"| `{table}` |" in text, table
        for name in names:
            assert f"`{name}`" in text, (table, name)
