"""The text of this package's functions that a program calls, so that a saved program needs NumPy (and SciPy) alone.

A function is taken with what it refers to: other functions, classes and constants of its module and of those that the
module imports from. What exists for tensors only is left out: in a saved program there are none.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import re
import symtable
from collections.abc import Iterator

__all__ = ["bundle"]

PACKAGE = __name__.partition(".")[0]
STAND_INS = {
    "Tensor": "Tensor = ()  # isinstance(x, Tensor) is False",
    "array_function": "def array_function(function):\n    return function",
    "wrap_forward_fn": "def wrap_forward_fn(function, **options):\n    return function",
    "shared_out": "def shared_out(work, samples, cost):\n    return [work(slice(0, samples))]",
}
ENGINE = tuple(f"{PACKAGE}.core.{name}" for name in ("backprop", "forward", "grad_mode", "recipe", "table", "tensor"))


@functools.cache
def statements(module: str) -> tuple[list[str], dict[str, ast.stmt]]:
    """The lines of a module, and for each name the statement that binds it."""
    source = inspect.getsource(importlib.import_module(module))
    bound: dict[str, ast.stmt] = {}

    def note(body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                bound[statement.name] = statement
            elif isinstance(statement, (ast.Import, ast.ImportFrom)):
                bound.update({alias.asname or alias.name.partition(".")[0]: statement for alias in statement.names})
            elif isinstance(statement, ast.Assign):
                targets = [x for t in statement.targets for x in (t.elts if isinstance(t, ast.Tuple) else [t])]
                bound.update({x.id: statement for x in targets if isinstance(x, ast.Name)})
            elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                bound[statement.target.id] = statement

    note(ast.parse(source).body)
    return source.splitlines(), bound


def names_used(text: str) -> Iterator[str]:
    """The global names that a statement refers to when it runs, those in annotations not among them."""
    scopes = [symtable.symtable(f"from __future__ import annotations\n{text}", "<text>", "exec")]
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope.get_type() == "module" or symbol.is_global()):
                yield symbol.get_name()


class _Bundle:
    """Collects statements of modules.

    Attributes:
        names: (module, name) -> the name in the text, another one where two modules use the same.
        imports: lines that import other packages.
        texts: the statements, each after those that it needs.
    """

    def __init__(self, wanted: list[tuple[str, str]]) -> None:
        self.wanted = wanted
        self.names: dict[tuple[str, str], str] = {}
        self.imports: dict[str, None] = {}
        self.texts: list[str] = []

    def take(self, module: str, name: str) -> str:
        """Take what a module calls `name`, and what that needs; returns its name in the text.

        Raises:
            TypeError: the module does not say what it is.
        """
        lines, bound = statements(module)
        statement = bound.get(name)
        if isinstance(statement, ast.ImportFrom):
            return self.take_import(module, name, statement)
        if (module, name) in self.names:
            return self.names[module, name]
        if isinstance(statement, ast.Import):
            self.imports[ast.unparse(statement)] = None
            return name
        if statement is None:
            raise TypeError(f"{module}.{name} cannot be written to a file")
        others = {*self.names.values(), *(called for home, called in self.wanted if home != module)}
        chosen = f"{name}_of_{module.rpartition('.')[2]}" if name in others else name
        self.names[module, name] = chosen
        if name in STAND_INS:
            self.texts.append(STAND_INS[name])
        elif module in ENGINE:
            self.texts.append(f"{chosen} = None  # for tensors only")
        else:
            self.texts.append(self.text(module, name, statement, lines))
        return chosen

    def text(self, module: str, name: str, statement: ast.stmt, lines: list[str]) -> str:
        """A statement as it stands in its module, without what registers it there, and with the names chosen here."""
        text = lines[statement.lineno - 1 : statement.end_lineno]
        chosen = {name: self.names[module, name]}
        for inner in ast.walk(statement):
            if isinstance(inner, ast.ImportFrom) and inner.level:  # when it runs
                for alias in inner.names:
                    called = alias.asname or alias.name
                    chosen[called] = self.take_import(module, called, inner)
                for number in range(inner.lineno, (inner.end_lineno or inner.lineno) + 1):
                    line = text[number - statement.lineno]
                    text[number - statement.lineno] = line[: len(line) - len(line.lstrip())] + "pass"
        kept = [x for x in getattr(statement, "decorator_list", []) if not self.is_of_package(module, x)]
        whole = "\n".join([*(f"@{ast.unparse(x)}" for x in kept), *text])
        for other in dict.fromkeys(names_used(whole)):
            if other != name and other in statements(module)[1]:
                chosen[other] = self.take(module, other)
        for old, new in chosen.items():
            if old != new:
                whole = re.sub(rf"(?<![\w.]){old}\b", new, whole)
        return whole

    def take_import(self, module: str, name: str, statement: ast.ImportFrom) -> str:
        """Take what a module imports under a name."""
        home = importlib.util.resolve_name("." * statement.level + (statement.module or ""), module.rpartition(".")[0])
        alias = next(alias for alias in statement.names if (alias.asname or alias.name) == name)
        if home.partition(".")[0] == PACKAGE:
            return self.take(home, alias.name)
        self.imports[f"from {home} import {ast.unparse(alias)}"] = None
        return name

    def is_of_package(self, module: str, decorator: ast.expr) -> bool:
        """Whether a decorator is of this package, such as those that register a function in the table."""
        first = next(x.id for x in ast.walk(decorator) if isinstance(x, ast.Name))
        statement = statements(module)[1].get(first)
        if isinstance(statement, ast.ImportFrom):
            return statement.level > 0 or (statement.module or "").partition(".")[0] == PACKAGE
        return isinstance(statement, ast.FunctionDef)


def bundle(functions: list[tuple[str, str]]) -> tuple[list[str], str]:
    """Import lines, and the text that defines the functions, given as (module, name).

    Raises:
        TypeError: a function is not written down as one in its module.
    """
    found = _Bundle(functions)
    for module, name in functions:
        if found.take(module, name) != name:
            raise TypeError(f"two of the functions that the program calls are named {name}")
    return list(found.imports), "\n\n\n".join(found.texts)
