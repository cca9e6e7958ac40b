"""The shape of the house: imports point downwards, twins stand side by side, and what is public says what it is."""

import ast
import importlib
import inspect
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastnn
from fastnn.kernels import OPERATIONS

ROOT = Path(fastnn.__file__).parent

FLOORS = [
    {"checks", "described", "interrupts", "randomness"},
    {"kernels"},
    {"plan"},
    # what a user writes down, and what tables need
    {"activations", "initializers", "layers", "losses", "optimizers", "schedules", "metrics", "history", "callbacks"}
    | {"data", "preprocessing", "tables", "encoding", "cards", "plots", "storage"},
    {
        "steps",
        "feed",
        "bound",
        "custom_loss",
        "iterations",
        "landscapes",
        "search",
        "trainer",
        "predictor",
        "ops",
        "gradcheck",
        "scoring",
    },
    {"ahead", "batches", "checkpoints", "loop", "model", "prefetch", "range_test", "sources", "training"},
    {"sweeps"},
    {"cli"},
    {"__main__"},
]
"""The parts of the package, lowest first. A part imports from its own floor and from those below it."""


def modules():
    """Every module of the package by its name without the package: ("plan.arena", its file)."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts).removesuffix("__init__").removesuffix("."), path


NAMES = dict(modules())


def floor(module):
    part = module.split(".")[0]
    return next(number for number, parts in enumerate(FLOORS) if part in parts)


def checking_types(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def statements(node, inside_functions):
    """All statements below a node that run: those for type checkers are left out."""
    for child in ast.iter_child_nodes(node):
        if checking_types(child):
            continue
        yield child
        if inside_functions or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from statements(child, inside_functions)


def imports(module, inside_functions):
    """The modules of this package that a module imports at run time."""
    path = NAMES[module]
    package = ["fastnn", *module.split(".")] if module else ["fastnn"]
    if path.name != "__init__.py":
        package = package[:-1]
    found = set()
    for node in statements(ast.parse(path.read_text()), inside_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            base = base if node.level else node.module
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.add(full if full.removeprefix("fastnn.") in NAMES else base)
    own = {name.removeprefix("fastnn").removeprefix(".") for name in found if name.split(".")[0] == "fastnn"}
    return own - {module}


def test_every_module_has_its_floor():
    assert {name.split(".")[0] for name in NAMES} - {""} == set().union(*FLOORS)
    assert sum(map(len, FLOORS)) == len(set().union(*FLOORS))


@pytest.mark.parametrize("module", [name for name in NAMES if name])
def test_imports_point_downwards(module):
    for imported in imports(module, inside_functions=True) - {""}:
        assert floor(imported) <= floor(module), f"{module} imports {imported}"


def test_imports_make_no_circle():
    # A package counts as imported before what is in it only where it is named.
    tuple(TopologicalSorter({name: imports(name, inside_functions=False) for name in NAMES}).static_order())


def test_the_names_of_the_package_itself_are_used_by_the_commands_alone():
    users = {name for name in NAMES if "" in imports(name, inside_functions=True)}
    assert all(name.split(".")[0] == "cli" for name in users), users


def test_only_compilation_imports_the_numba_kernels():
    users = {
        name for name in NAMES
        if not name.startswith("kernels.numba")
        and any(imported.startswith("kernels.numba") for imported in imports(name, inside_functions=True))
    }  # fmt: skip
    assert users == {"kernels.objects", "kernels.own"}
    assert not any(name.startswith("kernels.numba") for name in imports("kernels.objects", inside_functions=False))


def test_numba_is_imported_by_its_kernels_alone():
    for name, path in NAMES.items():
        for node in statements(ast.parse(path.read_text()), inside_functions=True):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if any(imported.split(".")[0] == "numba" for imported in names):
                assert name.startswith("kernels.numba"), name


# Twins.


def functions(path, *decorators):
    """Names of the functions of a file that carry one of the decorators, in order."""
    found = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return [n.name for n in found if {ast.unparse(d).split("(")[0] for d in n.decorator_list} & set(decorators)]


TWINS = sorted(path.name for path in (ROOT / "kernels" / "reference").glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("file", TWINS)
def test_reference_kernels_and_their_numba_twins_stand_in_the_same_order_in_files_of_the_same_name(file):
    reference = functions(ROOT / "kernels" / "reference" / file, "operation", "update")
    assert reference
    assert functions(ROOT / "kernels" / "numba" / file, "kernel") == reference


@pytest.mark.parametrize("file", TWINS)
def test_c_kernels_stand_in_the_same_order_in_files_of_the_same_name(file):
    reference = functions(ROOT / "kernels" / "reference" / file, "operation", "update")
    text = (ROOT.parent / "kernels" / file).with_suffix(".c").read_text(encoding="utf-8")
    assert re.findall(r"^KERNEL\((\w+)\)$", text, re.MULTILINE) == reference
    assert f"fastnn/kernels/reference/{file}" in text.split("#include")[0]


def test_every_operation_of_the_table_is_one_of_the_twins():
    files = [ROOT / "kernels" / "reference" / file for file in TWINS]
    declared = [name for file in files for name in functions(file, "operation", "update")]
    assert sorted(declared) == sorted(OPERATIONS)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_reference_kernel_describes_every_array(name):
    entry = OPERATIONS[name]
    text = inspect.getdoc(entry.reference)
    assert text
    described = set(re.findall(r"\w+", text))
    assert {array.name for array in entry.arrays} <= described
    assert {scalar.name for scalar in entry.scalars} <= described


# What is public.


@pytest.mark.parametrize("name", fastnn.__all__)
def test_public_names_exist_and_say_what_they_are(name):
    value = getattr(fastnn, name)
    assert name in dir(fastnn)
    if not isinstance(value, str):
        assert inspect.getdoc(value)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Dnese'"):
        fastnn.Dnese  # noqa: B018


def test_type_checkers_see_the_same_public_names():
    block = next(node for node in ast.parse((ROOT / "__init__.py").read_text()).body if checking_types(node))
    seen = {alias.name for node in block.body for alias in node.names}
    assert seen == set(fastnn.__all__) - {"__version__"}


def public_definitions():
    """Modules, classes and functions that a reader may use: names without a leading underscore."""
    for name, path in NAMES.items():
        tree = ast.parse(path.read_text())
        yield pytest.param(tree, id=name or "fastnn")
        for node in tree.body:
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
                yield pytest.param(node, id=f"{name}.{node.name}")


def needs_no_docstring(node):
    """A Numba kernel is described by its reference twin."""
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(d) == "kernel" for d in node.decorator_list)


@pytest.mark.parametrize("node", list(public_definitions()))
def test_every_public_module_class_and_function_has_a_docstring(node):
    assert needs_no_docstring(node) or ast.get_docstring(node)


@pytest.mark.parametrize("name", [name for name in fastnn.__all__ if isinstance(getattr(fastnn, name), type)])
def test_every_public_method_has_a_docstring(name):
    for attribute, value in vars(getattr(fastnn, name)).items():
        if not attribute.startswith("_") and callable(value):
            assert inspect.getdoc(getattr(getattr(fastnn, name), attribute)), attribute


def test_nothing_is_pickled_but_for_the_processes_of_a_sweep():
    for name, path in NAMES.items():
        if name == "sweeps.elsewhere":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("module", [name for name in NAMES if name])
def test_every_module_can_be_imported_first(module):
    importlib.import_module(f"fastnn.{module}")
