"""The house rules of DESIGN §10, counted.

What counts: a *file* by its lines; a *function* from the first statement after its docstring to its last line; a
*parameter* is what a caller may pass, so neither `self`, `cls`, `*args` nor `**kwargs`, and not the fields of a
dataclass. At most six exist, and of a function without a leading underscore at most three may be given by position.
The verbs of `api.py`, `api_ask.py`, `api_few.py`, `api_maps.py`, `api_submit.py` and `compat` and the commands of `cli`
may have more, all by keyword: there, each is an option that a user types. Functions that Dask calls from a graph get
everything by position, for that is how graphs call.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "rs_embed_dask"
FOLDERS = ("rs_embed_dask", "tests", "benchmarks", "examples")

MAX_FILE_LINES = 500
USUAL_FILE_LINES = 300
MAX_PACKAGE_LINES = 66_999
MAX_PACKAGE_FILES = 398
MAX_FUNCTION_LINES = 40
GPU_NAMES = "rs_embed_dask/engine/gpus.py"  # reads what CUDA itself reads, to pin each worker to a GPU
MAX_MODELS_LINES = 6310
MAX_PARAMETERS = 6
MAX_POSITIONAL = 3
MAX_IMPORTED = 60
CALLED_FROM_GRAPHS = re.compile(r"_task$")
OPTIONS_ARE_PARAMETERS = re.compile(r"^rs_embed_dask/(api(_ask|_few|_maps|_submit)?\.py|cli/|compat/)")
NAMES_OF_OTHERS = "rs_embed_dask/compat/"  # its classes have the names that rs-embed gives them
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "core", "misc"}
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
MACHINE_PATH = re.compile(r"(^|[^a-zA-Z0-9_.])/(tmp|work|root|farm|home)/[a-z]")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)")
SPARED = {"skip", "skipif", "xfail", "importorskip"}


def files(*folders):
    found = chain.from_iterable((ROOT / folder).rglob("*.py") for folder in folders)
    return sorted(path for path in found if "__pycache__" not in path.parts)


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def everything(path):
    """Every node of a file: most of these tests look through all of them, and walking takes longer than looking."""
    return tuple(ast.walk(tree(path)))


def name(path):
    return path.relative_to(ROOT).as_posix()


def nodes(folders, kind):
    for path in files(*folders):
        for node in everything(path):
            if isinstance(node, kind):
                yield path, node


def functions(*folders):
    return nodes(folders, (ast.FunctionDef, ast.AsyncFunctionDef))


def body_lines(function):
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


def parameters(function):
    """How many may be given by position, and how many exist."""
    positional = [a.arg for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in {"self", "cls"}]
    return len(positional), len(positional) + len(function.args.kwonlyargs)


def none(found):
    """Fail with one line for each thing found."""
    assert not found, "\n" + "\n".join(found)


def test_there_is_something_to_count():
    assert len(files("rs_embed_dask")) > 20
    assert sum(1 for _ in functions("rs_embed_dask")) > 200


def test_files_are_short():
    counted = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files(*FOLDERS)}
    none([f"{name(p)}: {n} lines; split it by a noun" for p, n in counted.items() if n > MAX_FILE_LINES])
    assert sum(n <= USUAL_FILE_LINES for n in counted.values()) > 0.85 * len(counted)


def test_all_models_and_their_cards_stay_small():
    found = [
        p for p in files("rs_embed_dask/models", "rs_embed_dask/cards") if p.name not in {"terms.py", "weights.py"}
    ]
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in found) < MAX_MODELS_LINES


def test_the_package_stays_small():
    found = files("rs_embed_dask")
    assert len(found) <= MAX_PACKAGE_FILES
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in found) <= MAX_PACKAGE_LINES


def test_class_names_are_unique():
    homes = {}
    for path, node in nodes(("rs_embed_dask",), ast.ClassDef):
        if not name(path).startswith(NAMES_OF_OTHERS):
            homes.setdefault(node.name, []).append(name(path))
    none([f"{word}: {', '.join(where)}" for word, where in homes.items() if len(where) > 1])


def modules():
    """Every module of the package by its dotted name."""
    dotted = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in files("rs_embed_dask")}
    return {word.removesuffix(".__init__"): path for word, path in dotted.items()}


def imported(path, known):
    """Modules of the package that a file imports anywhere, for types too."""
    for node in everything(path):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from (inside & known.keys()) or {node.module}
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & known.keys()


def test_no_modules_import_each_other_in_a_circle():
    known = modules()
    left = {word: set(imported(path, known)) - {word} for word, path in known.items()}
    while leaves := {word for word, needs in left.items() if not needs & left.keys()}:
        left = {word: needs for word, needs in left.items() if word not in leaves}
    none([f"{word} -> {', '.join(sorted(needs & left.keys()))}" for word, needs in left.items()])


def test_functions_are_at_most_40_lines():
    none(
        [
            f"{name(path)}:{node.lineno} {node.name}: {body_lines(node)} lines without its docstring"
            for path, node in functions("rs_embed_dask")
            if body_lines(node) > MAX_FUNCTION_LINES
        ]
    )


def test_parameters_are_few_and_named():
    found = []
    for path, node in functions("rs_embed_dask"):
        positional, total = parameters(node)
        if OPTIONS_ARE_PARAMETERS.match(name(path)):
            total = min(total, MAX_PARAMETERS)
        if node.name.startswith("_") or CALLED_FROM_GRAPHS.search(node.name):
            positional = 0
        if positional > MAX_POSITIONAL or total > MAX_PARAMETERS:
            found.append(f"{name(path)}:{node.lineno} {node.name}: {positional} by position, {total} in all")
    none(found)


def test_no_file_has_a_name_that_says_nothing():
    stems = [(path, set(path.stem.split("_")) | set(path.parent.name.split("_"))) for path in files("rs_embed_dask")]
    none([f"{name(path)}: name the thing that it holds" for path, words in stems if words & VAGUE_NAMES])


def test_exceptions_are_caught_by_name():
    def broad(handler):
        kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
        return any(k is None or (isinstance(k, ast.Name) and k.id in {"Exception", "BaseException"}) for k in kinds)

    none([f"{name(p)}:{n.lineno}: catch what can be named" for p, n in nodes(FOLDERS, ast.ExceptHandler) if broad(n)])


def test_the_package_reads_no_environment_variable():
    def reads(node):
        word = node.attr if isinstance(node, ast.Attribute) else node.id
        return word in {"environ", "getenv", "environb", "putenv"}

    found = nodes(("rs_embed_dask",), (ast.Attribute, ast.Name))
    none([f"{name(path)}:{node.lineno}" for path, node in found if reads(node) and name(path) != GPU_NAMES])


def test_no_model_zoo_is_imported():
    def roots(node):
        if isinstance(node, ast.ImportFrom):
            return {(node.module or "").partition(".")[0]}
        return {alias.name.partition(".")[0] for alias in node.names}

    found = nodes(FOLDERS, (ast.Import, ast.ImportFrom))
    none([f"{name(p)}:{n.lineno}" for p, n in found if roots(n) & {"torchvision", "timm", "transformers", "rshf"}])


def test_no_unsafe_pickle():
    def unsafe(node):
        return node.arg == "weights_only" and isinstance(node.value, ast.Constant) and node.value.value is False

    none([f"{name(p)}:{n.value.lineno}" for p, n in nodes(("rs_embed_dask",), ast.keyword) if unsafe(n)])


def test_nothing_is_left_for_later():
    lines = ((p, i, line) for p in files(*FOLDERS) for i, line in enumerate(p.read_text("utf-8").splitlines(), 1))
    found = [f"{name(p)}:{i}: {line.strip()}" for p, i, line in lines if UNFINISHED.search(line)]
    raised = [f"{name(p)}:{n.lineno}" for p, n in nodes(("rs_embed_dask",), ast.Name) if n.id == "NotImplementedError"]
    none(found + raised)


def test_ignored_types_name_their_code():
    lines = ((p, i, line) for p in files(*FOLDERS) for i, line in enumerate(p.read_text("utf-8").splitlines(), 1))
    none([f"{name(p)}:{i}" for p, i, line in lines if BARE_IGNORE.search(line)])


def test_no_test_is_spared():
    found = nodes(("tests",), ast.Attribute)
    marks = {"pytest", "mark"}

    def of_pytest(node):
        owner = node.value
        return getattr(owner, "attr", getattr(owner, "id", "")) in marks

    none([f"{name(p)}:{n.lineno} {n.attr}" for p, n in found if n.attr in SPARED and of_pytest(n)])
    taken = ((p, n, one.name) for p, n in nodes(("tests",), ast.ImportFrom) for one in n.names)
    none([f"{name(p)}:{n.lineno} {one}" for p, n, one in taken if n.module in {"pytest", "unittest"} and one != "mock"])


def test_no_path_of_one_machine():
    suffixes = {".py", ".toml", ".yml", ".md", ".txt", ".ipynb", ".cfg"}
    folders = (*FOLDERS, "docs", "notebooks", "deploy", ".ci")
    inside = chain.from_iterable((ROOT / folder).rglob("*") for folder in folders)
    texts = [p for p in chain(ROOT.glob("*"), inside) if p.is_file() and (p.suffix in suffixes or p.name == "Makefile")]
    assert len(texts) > 20
    lines = ((p, i, line) for p in texts for i, line in enumerate(p.read_text("utf-8").splitlines(), 1))
    none([f"{name(p)}:{i}: {line.strip()[:120]}" for p, i, line in lines if MACHINE_PATH.search(line)])


def test_every_module_has_a_docstring():
    none([name(p) for p in files("rs_embed_dask") if ast.get_docstring(tree(p)) is None])


def test_the_import_loads_only_itself_and_little_of_that():
    """So it is quick; `python -m benchmarks.overhead` times it."""
    code = "import sys; before = {*sys.modules}; import rs_embed_dask; print(*(sys.modules.keys() - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    own = {word for word in loaded if word.partition(".")[0] == "rs_embed_dask"}
    none(sorted(word for word in loaded - own if word.partition(".")[0] not in sys.stdlib_module_names))
    assert own == {"rs_embed_dask"}
    assert len(loaded) < MAX_IMPORTED


def test_every_public_name_is_there_and_documented():
    import rs_embed_dask

    public = [word for word in rs_embed_dask.__all__ if not word.startswith("__")]
    assert len(public) > 15
    objects = {word: getattr(rs_embed_dask, word) for word in public}
    none([word for word, thing in objects.items() if not (getattr(thing, "__doc__", None) or "").strip()])
    none([word for word, thing in objects.items() if word != "RsEmbedError" and "Examples\n" not in thing.__doc__])
    assert set(public) <= set(dir(rs_embed_dask))


def test_a_name_that_is_not_public_is_refused():
    import rs_embed_dask

    with pytest.raises(AttributeError, match="no_such_verb"):
        _ = rs_embed_dask.no_such_verb
