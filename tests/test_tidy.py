"""The rules of the house that no linter knows, checked by reading the source."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("storefs", "daemon") for path in (ROOT / folder).rglob("*.py"))
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
CAPTION_CHARACTERS_MAX = 120
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
DETERMINISTIC = ("engine", "core", "tree", "volume")
"""Packages of storefs that get time and chance as arguments."""

TIME_AND_CHANCE = {
    *("time.sleep", "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "os.urandom", "uuid.uuid1", "uuid.uuid4"),
}
CHANCE_MODULES = {"random", "secrets"}

each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
each_deterministic_source = pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if path.relative_to(ROOT).parts[1] in DETERMINISTIC],
    ids=lambda path: str(path.relative_to(ROOT)),
)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_modules(module: ast.Module) -> set[str]:
    """Return the top-level names of all that is imported, also inside functions."""
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def dotted_names(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield each ``a.b`` with its line; of ``a.b.c`` also ``b.c``."""
    for node in ast.walk(module):
        if not isinstance(node, ast.Attribute):
            continue
        if isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}", node.lineno
        elif isinstance(node.value, ast.Attribute):
            yield f"{node.value.attr}.{node.attr}", node.lineno


def test_sources_are_found():
    assert len(SOURCES) > 10


@each_source
def test_a_caption_opens_the_file(path):
    docstring = ast.get_docstring(parsed(path), clean=False)
    assert docstring, "no module docstring"
    first, *rest = docstring.splitlines()
    assert first.strip(), "the caption belongs on the line of the opening quotes"
    assert len(first) <= CAPTION_CHARACTERS_MAX
    assert first.endswith((".", "?")), "the caption is one whole sentence or phrase on one line"
    assert not rest or not rest[0].strip(), "an empty line follows the caption"


@each_source
def test_the_file_is_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


@each_source
def test_functions_are_small(path):
    functions = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node.name, node.end_lineno - node.lineno + 1) for node in functions]
    assert [(name, lines) for name, lines in lengths if lines > FUNCTION_LINES_MAX] == []


@each_source
def test_the_name_says_what_is_inside(path):
    parts = {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}
    assert parts & VAGUE_NAMES == set()


@each_source
def test_nothing_is_left_to_do(path):
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
    marks = [token.start[0] for token in tokens if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", token.string)]
    assert marks == []


@each_source
def test_nothing_is_pickled(path):
    banned = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve"}
    assert {name for name in imported_modules(parsed(path)) if name.split(".")[0] in banned} == set()


@each_deterministic_source
def test_time_and_chance_come_in_as_arguments(path):
    module = parsed(path)
    imported = imported_modules(module)
    assert {name for name in imported if name.split(".")[0] in CHANCE_MODULES} == set()
    # `from time import sleep` shows among the imports, `time.sleep` among the names.
    assert imported & TIME_AND_CHANCE == set()
    assert [(name, line) for name, line in dotted_names(module) if name in TIME_AND_CHANCE] == []
