"""A graph as a Python function in NumPy, as a person would have written it.

One line a node; a comment where the user's line changes, and in the backward part the formula of the backward function.
Large intermediate results go to buffers that are used again (see `memory.py`).
"""

from __future__ import annotations

import functools
import inspect
import itertools
import keyword
import linecache
import operator
import os
import re
import sys
import warnings
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ..core.recipe import user_level
from ..core.table import name_of
from ..core.views import write_region
from .graph import ATOMS, CONSTANT, INPUT, Graph, Node, nodes_in
from .kernels import elementary_functions, kinds
from .kernels.compiling import KernelError, all_at_once
from .kernels.convolution import LayerKernel
from .kernels.generate import KernelText, write_kernel
from .kernels.products import Product
from .memory import Plan, is_contiguous, plan
from .passes import forms
from .passes.fusion import Kernel, fuse, is_output
from .passes.layers import use_layers
from .tracer import Draw, UfuncMethod

__all__ = ["Program", "write_source"]

INFIX = {
    np.add: "+",
    np.subtract: "-",
    np.multiply: "*",
    np.true_divide: "/",
    np.floor_divide: "//",
    np.remainder: "%",
    np.power: "**",
    np.matmul: "@",
    np.greater: ">",
    np.greater_equal: ">=",
    np.less: "<",
    np.less_equal: "<=",
    np.equal: "==",
    np.not_equal: "!=",
    np.logical_and: "&",
    np.logical_or: "|",
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.pow: "**",
}
AUGMENTED = {np.add: "+=", np.subtract: "-=", np.multiply: "*=", np.true_divide: "/="}
ONLY_BOOL = {np.logical_and, np.logical_or}
INLINE = 64  # a constant of at most so many elements is written out
NESTED = 2  # as many steps may stand in the line of the one that reads them


class Program:
    """A Python function's text, and the objects that it refers to by name.

    Attributes:
        name: the function's name.
        source: the text of the module.
        inputs: the graph's nodes that are its parameters, in their order.
        objects: what the text needs beside NumPy: constants too large to write out, generators.
        kernels: the kernels in it by name.
        rewrite: makes the program again with some operations (by their positions in the graph) in no kernel, or
            with `kernels=False` with none at all.
    """

    def __init__(
        self,
        name: str,
        source: str,
        inputs: list[Node],
        objects: dict[str, Any],
        kernels: dict[str, Kernel] | None = None,
        rewrite: Callable[..., Program] | None = None,
    ) -> None:
        self.name = name
        self.source = source
        self.inputs = inputs
        self.objects = objects
        self.kernels = kernels or {}
        self.rewrite = rewrite
        self.memory = Plan()
        self.graph = Graph([], [])  # with the kernels
        self.steps: dict[Node, int] = {}  # the number of the last line of the source that computes a node

    def load(self) -> Any:
        """The function itself; its lines show in tracebacks."""
        filename = f"<compiled {self.name} {id(self):x}>"
        linecache.cache[filename] = (len(self.source), None, self.source.splitlines(keepends=True), filename)
        namespace = dict(self.objects)
        try:
            with all_at_once(namespace):
                exec(compile(self.source, filename, "exec", dont_inherit=True), namespace)
        except KernelError as error:
            failed = self.kernels.get(error.name)
            if failed is None or self.rewrite is None:
                raise
            warnings.warn(f"{error}; NumPy computes it instead, more slowly", stacklevel=user_level())
            other = self.rewrite(failed.positions)
            self.__dict__.update(other.__dict__)
            return self.load()
        return namespace[self.name]


class _Writer:
    def __init__(self, graph: Graph, names: dict[Node, str], memory: Plan, elementary: Collection[str] = ()) -> None:
        self.elementary = elementary
        self.taken = set(names.values())
        self.results: dict[Node, list[Node]] = {}  # of kernels
        for node in graph.nodes:
            if is_output(node):
                self.results.setdefault(node.args[0], []).append(node)
        self.read = {operand for node in graph.nodes for operand in node.operands()} | set(graph.outputs)
        self.names = names
        self.nested: set[Node] = set()  # values whose expression stands where they are used, and needs brackets there
        self.memory = memory
        self.imports: set[str] = {"import numpy as np"}
        self.objects: dict[str, Any] = {}
        self.constants: list[str] = []
        self.kernels: dict[str, Kernel] = {}
        self.kernel_texts: dict[str, KernelText] = {}  # by their text under neutral names

    # ----- expressions -----

    def argument(self, value: Any) -> str:
        """An argument as Python text."""
        if isinstance(value, Node):
            return f"({self.names[value]})" if value in self.nested else self.names[value]
        if hasattr(value, "_fields"):
            return f"{self.function(type(value))}({', '.join(map(self.argument, value))})"
        if isinstance(value, tuple):
            inside = ", ".join(map(self.argument, value))
            return f"({inside},)" if len(value) == 1 else f"({inside})"
        if isinstance(value, list):
            return f"[{', '.join(map(self.argument, value))}]"
        if isinstance(value, slice):
            return f"slice({', '.join(map(self.argument, (value.start, value.stop, value.step)))})"
        if value is Ellipsis:
            return "..."
        if isinstance(value, np.dtype):
            return self.type_name(value)
        if isinstance(value, np.generic):
            return f"{self.type_name(value.dtype)}({self.argument(value.item())})"
        if isinstance(value, complex):  # of which the usual form loses signs of zeros and infinite parts
            return f"complex({self.argument(value.real)}, {self.argument(value.imag)})"
        if isinstance(value, float) and not np.isfinite(value):
            return {"inf": "np.inf", "-inf": "-np.inf"}.get(str(value), "np.nan")
        if isinstance(value, type) and issubclass(value, np.generic):
            return f"np.{value.__name__}"
        if isinstance(value, (bool, int, float, complex, str, type(None))):
            return repr(value)
        if callable(value) and not hasattr(value, "numbers"):
            return self.function(value)
        return self.object(value)

    def bare(self, value: Any) -> str:
        """An argument where nothing binds more strongly: between the brackets of a call."""
        return self.names[value] if isinstance(value, Node) else self.argument(value)

    def call(self, node: Node, out: str = "") -> str:
        """A call by the function's name."""
        args, keywords = without_defaults(node)
        if isinstance(node.op, UfuncMethod) and isinstance(axis := keywords.get("axis"), tuple) and len(axis) == 1:
            keywords["axis"] = axis[0]
        shown = [*map(self.bare, args), *(f"{key}={self.argument(value)}" for key, value in keywords.items())]
        return f"{self.function(node.op)}({', '.join(shown + [f'out={out}'] * bool(out))})"

    def type_name(self, dtype: np.dtype[Any]) -> str:
        return "bool" if dtype == np.bool else f"np.{dtype.name}"

    def index(self, value: Any) -> str:
        """What stands between the brackets of an index."""
        if isinstance(value, tuple):
            if len(value) == 1 and not isinstance(value[0], tuple):
                return self.index(value[0])
            return ", ".join(map(self.index, value)) + ("," if len(value) == 1 else "") if value else "()"
        if isinstance(value, slice):
            parts = ["" if p is None else self.argument(p) for p in (value.start, value.stop, value.step)]
            return f"{parts[0]}:{parts[1]}" + (f":{parts[2]}" if parts[2] else "")
        return self.argument(value)

    def object(self, value: Any) -> str:
        for name, known in self.objects.items():
            if known is value:
                return name
        base = "generator" if hasattr(value, "numbers") else type(value).__name__.lower()
        name = base if base not in self.objects else f"{base}_{len(self.objects)}"
        self.objects[name] = value
        return name

    def function(self, op: Any) -> str:
        """How a function is called by name."""
        if isinstance(op, UfuncMethod):
            return f"{self.function(op.ufunc)}.{op.method}"
        name = name_of(op)
        if op in (float, int, bool, complex):
            return name
        for home, text in ((np, "np"), (np.linalg, "np.linalg"), (np.fft, "np.fft")):
            if getattr(home, name, None) is op:
                return f"{text}.{name}"
        import scipy.special

        if getattr(scipy.special, name, None) is op:
            self.imports.add("from scipy import special")
            return f"special.{name}"
        if getattr(operator, name, None) is op:
            self.imports.add("import operator")
            return f"operator.{name}"
        module = getattr(op, "__module__", "")
        found = name.isidentifier() and getattr(__import__("sys").modules.get(module), name, None) is op
        if found and "<" not in module and module != "__main__":
            self.imports.add(f"from {module} import {name}")
            return name
        return self.object(op)

    # ----- statements -----

    def statements(self, node: Node) -> list[str]:
        """The lines that compute a node."""
        if isinstance(node.op, Kernel):
            return self.call_kernel(node)
        target = self.memory.targets.get(node)
        if isinstance(target, Node):
            return [self.overwriting(node, target)]
        name = self.names[node]
        if node.op is write_region:
            return self.write_region(node, name)
        if isinstance(node.op, Draw):
            generator, *rest = node.args
            shown = [self.argument(arg) for arg in rest]
            shown += [f"{key}={self.argument(value)}" for key, value in node.kwargs.items()]
            numbers = f"{self.object(generator)}.numbers"
            if callable(node.op.method):
                shown = [f"{self.function(node.op.method)}({', '.join([numbers, *shown])})"]
                return [f"{name} = np.asarray({shown[0]}, order='C')"]
            return [f"{name} = {numbers}.{node.op.method}({', '.join(shown)})"]
        return [f"{name} = {self.expression(node) if target is None else self.call(node, target)}"]

    def call_kernel(self, whole: Node) -> list[str]:
        """The lines that make room for a kernel's results, and call it."""
        kernel = whole.op
        results = self.results[whole]
        lines: list[str] = []
        overwritten: dict[Node, Node] = {}
        known: list[tuple[str, str]] = []
        renamed: list[tuple[Node, Node]] = []
        for node, inner in zip(results, kernel.outputs, strict=True):
            target = self.memory.targets.get(node)
            if isinstance(target, Node):
                if target in whole.args:
                    overwritten[inner] = kernel.inputs[whole.args.index(target)]
                if target.op is INPUT:
                    self.names[node] = self.names[target]
                elif node in self.read:
                    renamed.append((node, target))
            elif target is None:
                assert node.dtype is not None
                lines.append(f"{self.names[node]} = np.empty({node.shape}, {self.type_name(node.dtype)})")
            else:
                known.append((self.names[node], target))
        if known:
            lines.append(together(known))
        text = self.kernel_text(whole, results, overwritten)
        given = [self.contiguous(node) for node in whole.args]
        given += [self.names[results[i]] for i in text.outputs]
        after = self.rename(renamed)
        if not text.split:
            return [*lines, f"{text.name}({', '.join(given)})", *after]
        self.imports.add("from chainrule.compiler.kernels.compiling import in_parts")
        sums = "".join(f"({given.index(self.names[results[i]])}, {ufunc}), " for i, ufunc in text.sums)
        more = f", ({sums.strip()})" if sums else ""
        given = [*map(str, text.numbers), *given]
        return [*lines, f"in_parts({text.name}, {text.split}, ({', '.join(given)},){more})", *after]

    def rename(self, pairs: list[tuple[Node, Node]]) -> list[str]:
        """The line that calls results by their names which are in the memory of others, if these are called otherwise.

        Args:
            pairs: (result, the value whose memory it has taken).
        """
        for node, target in pairs:
            if node.name == target.name:  # but for the number that makes it unique
                self.names[node] = self.names[target]
        shown = [(self.names[node], self.names[target]) for node, target in pairs]
        shown = [(new, old) for new, old in shown if new != old]
        return [together(shown)] if shown else []

    def kernel_text(self, whole: Node, results: list[Node], overwritten: dict[Node, Node]) -> KernelText:
        """The text of a kernel; that of an earlier one, if they are the same but for names."""
        kernel = whole.op
        threads = bool(kernel.loops) and kernel.loops[0].is_large

        def write(called: str, names: dict[Node, str]) -> KernelText:
            if isinstance(kernel, Product):
                return kernel.write(called, overwritten)
            if isinstance(kernel, LayerKernel):
                return kernel.write(called)
            return write_kernel(kernel, called, names, overwritten, self.elementary, threads)

        neutral = write("kernel", {})
        if neutral.source not in self.kernel_texts:
            name = base = f"{kernel.__name__.replace('.', '_')}_kernel"
            while name in self.kernels or name in self.taken:
                name = f"{base}_{len(self.kernels) + 1}"
            self.kernels[name] = kernel
            names = {inner: self.names[node] for inner, node in zip(kernel.inputs, whole.args, strict=True)}
            names |= {inner: self.names[node] for inner, node in zip(kernel.outputs, results, strict=True)}
            self.kernel_texts[neutral.source] = write(name, names)
        known = self.kernel_texts[neutral.source]
        # what the text leaves open, such as how much there is to share out to threads, is this kernel's own
        return KernelText(known.name, known.source, neutral.outputs, neutral.split, neutral.sums, neutral.numbers)

    def contiguous(self, node: Node) -> str:
        """A kernel's argument, which must be an array whose elements lie side by side."""
        name = self.names[node]
        if node.dtype is None or self.is_in_order(node):
            return name
        return f"np.asarray({name})" if not node.shape else f"np.ascontiguousarray({name})"

    def is_in_order(self, node: Node) -> bool:
        """Whether a value is surely an array with its elements in order in memory: a buffer is one."""
        target = self.memory.targets.get(node)
        if isinstance(target, Node):
            return self.is_in_order(target)
        if node.op is np.reshape and not node.kwargs:
            return self.is_in_order(node.args[0])
        return target is not None or is_contiguous(node)

    def overwriting(self, node: Node, target: Node) -> str:
        """A result in the memory of an operand, or of an input; without a name of its own it takes that one's."""
        name = self.names[target]
        if node.name != target.name and target.op is not INPUT:
            return f"{self.names[node]} = {self.call(node, name)}"
        self.names[node] = name
        if node.op in AUGMENTED and node.args[0] is target and not node.kwargs and self.infix_is_the_same(node):
            return f"{name} {AUGMENTED[node.op]} {self.bare(node.args[1])}"
        return self.call(node, name)

    def expression(self, node: Node) -> str:
        """A call, in the shortest usual form."""
        op, args = node.op, node.args
        if op is operator.getitem:
            return f"{self.argument(args[0])}[{self.index(args[1])}]"
        if op in INFIX and len(args) == 2 and not node.kwargs and self.infix_is_the_same(node):
            first = self.argument(args[0])
            if INFIX[op] == "**" and first.startswith("-"):  # which binds weaker
                first = f"({first})"
            return f"{first} {INFIX[op]} {self.argument(args[1])}"
        if op in (np.negative, operator.neg) and isinstance(args[0], Node):
            return f"-{self.argument(args[0])}"
        operand = args[0] if args else None
        if isinstance(operand, Node) and operand.dtype is not None:
            if op is np.transpose and operand.shape is not None:
                axes = args[1] if len(args) > 1 else None
                if axes is None or tuple(axes) == tuple(range(len(operand.shape)))[::-1]:
                    return f"{self.argument(operand)}.T"
                return f"{self.argument(operand)}.transpose{self.argument(tuple(axes))}"
            if op is np.reshape and not node.kwargs:
                return f"{self.argument(operand)}.reshape{self.argument(tuple(node.shape)) if node.shape else '(())'}"
            if op is np.astype and not node.kwargs:
                return f"{self.argument(operand)}.astype({self.argument(args[1])})"
        return self.call(node)

    @staticmethod
    def infix_is_the_same(node: Node) -> bool:
        operands = [arg for arg in node.args if isinstance(arg, Node)]
        if node.op in ONLY_BOOL:
            return len(operands) == 2 and all(operand.dtype == bool for operand in operands)
        return bool(operands)

    def write_region(self, node: Node, name: str) -> list[str]:
        base, value, chain = node.args
        lines = []
        if node in self.memory.reused:
            lines.append(f"{name} = {self.argument(base)}")
        else:
            lines.append(f"{name} = {self.argument(base)}.copy()")
        region = name
        for i, (function, rest, kwargs) in enumerate(chain):
            last = i == len(chain) - 1
            if function is operator.getitem or name_of(function) == "getitem":
                region += f"[{self.index(rest[0])}]"
            elif function in (np.transpose, np.swapaxes, np.squeeze, np.reshape):
                more = [*map(self.argument, rest), *(f"{k}={self.argument(v)}" for k, v in kwargs.items())]
                region += f".{name_of(function)}({', '.join(more)})" + ("[...]" if last else "")
            else:
                more = [*map(self.argument, rest), *(f"{k}={self.argument(v)}" for k, v in kwargs.items())]
                region = f"{self.function(function)}({', '.join([region, *more])})" + ("[...]" if last else "")
        safe = all(
            function is operator.getitem or name_of(function) == "getitem" or function in (np.transpose, np.swapaxes)
            for function, _, _ in chain
        )
        if not safe or sum(map(is_fancy, chain)) > (1 if chain and is_fancy(chain[-1]) else 0):
            shown = ", ".join(map(self.argument, (base, value)))
            self.imports.add("from chainrule.core.views import write_region")
            return [f"{name} = write_region({shown}, {self.chain(chain)})"]
        return [*lines, f"{region} = {self.argument(value)}"]

    def chain(self, chain: Any) -> str:
        steps = []
        for function, rest, kwargs in chain:
            pairs = ", ".join(f"{key!r}: {self.argument(value)}" for key, value in kwargs.items())
            steps.append(f"({self.function(function)}, {self.argument(tuple(rest))}, {{{pairs}}})")
        return f"({', '.join(steps)},)"

    def constant(self, node: Node, name: str) -> None:
        array = node.args[0]
        if array.size > 3 and array.dtype == np.int64 and stays(array) and is_counting(array):
            shape = "" if array.ndim == 1 else f".reshape{array.shape}"
            self.constants.append(f"{name} = np.arange({array.size}){shape}")
        elif array.size > 1 and stays(array) and is_one_number(array):
            number = shortest(array.reshape(-1)[0]) or self.argument(array.reshape(-1)[0].item())
            self.constants.append(f"{name} = np.full({array.shape}, {number}, {self.type_name(array.dtype)})")
        elif array.size > 4 and array.ndim == 2 and stays(array) and (pattern := pattern_of(array)):
            self.constants.append(f"{name} = {pattern.format(self.type_name(array.dtype))}")
        elif not array.ndim and array.dtype.kind == "f" and stays(array):
            number = shortest(array[()]) or self.argument(array.item())
            self.constants.append(f"{name} = np.array({number}, {self.type_name(array.dtype)})")
        elif 0 < array.size <= INLINE and stays(array) and np.all(np.isfinite(array)):
            self.constants.append(f"{name} = np.array({array.tolist()}, {self.type_name(array.dtype)})")
        else:
            self.objects[name] = array
            shape = ", ".join(map(str, array.shape))
            self.constants.append(f"# {name}: {array.dtype}[{shape}], which comes with the program")


def kinds_in(texts: list[str]) -> list[str]:
    """The names of `kinds.py` that are in the heads of kernels."""
    heads = " ".join(text.partition("):\n")[0] for text in texts)
    return sorted(set(re.findall(r"\w+", heads)) & set(kinds.__all__))


def is_counting(array: Any) -> bool:
    """Whether an array holds 0, 1, 2, ..., in order."""
    return bool(np.array_equal(array.reshape(-1), np.arange(array.size)))


def pattern_of(array: Any) -> str:
    """The call that makes an identity matrix or a triangle of ones, with a place for the type; "" for other arrays."""
    rows, columns = array.shape
    ones = np.ones(array.shape)
    size = f"{rows}" if rows == columns else f"{rows}, {columns}"
    patterns = {f"np.eye({size}, dtype={{}})": np.eye(rows, columns)}
    patterns |= {f"np.tri({rows}, {columns}, {k}, {{}})": np.tril(ones, k) for k in (-1, 0)}
    patterns |= {f"np.triu(np.ones(({rows}, {columns}), {{}}), {k})": np.triu(ones, k) for k in (0, 1)}
    bits = array.tobytes()  # 0.0 and -0.0 are equal
    return next((text for text, values in patterns.items() if values.astype(array.dtype).tobytes() == bits), "")


def is_one_number(array: Any) -> bool:
    """Whether all elements are the same, to the bit."""
    flat = array.reshape(-1)
    return array.dtype.kind in "biuf" and flat.tobytes() == flat[:1].tobytes() * flat.size


def stays(array: Any) -> bool:
    """Whether nobody can change an array: it is read-only, or nobody but the graph has it."""
    if not array.flags.writeable:
        return True
    base = array.base
    if base is not None and (type(base) is not np.ndarray or base.base is not None or sys.getrefcount(base) > 3):
        return False  # 3: the view, the variable, and the call's argument
    return sys.getrefcount(array) <= 4  # the node, the caller's variable, and as above


def together(pairs: list[tuple[str, str]]) -> str:
    """One assignment of several names."""
    return f"{', '.join(name for name, _ in pairs)} = {', '.join(value for _, value in pairs)}"


def is_inline(node: Node) -> bool:
    """Whether a value is written where it is used: a transposed matrix is a view that costs nothing."""
    if node.op is not np.transpose or node.shape is None or len(node.shape) != 2:
        return False
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("axes")
    return axes is None or tuple(axes) in ((1, 0), (-1, -2))


def read_next(graph: Graph, memory: Plan) -> set[Node]:
    """Values without a name that the next step alone reads, in whose line they are written."""
    users = graph.users()
    kept = {*graph.outputs, *memory.targets, *memory.targets.values(), *(node for node, _ in memory.copies)}
    steps = [node for node in graph.nodes if node.op not in (INPUT, CONSTANT) and not is_inline(node)]
    found: set[Node] = set()
    length: dict[Node, int] = {}
    for node, following in itertools.pairwise(steps):
        length[node] = 1 + sum(length[operand] for operand in node.operands() if operand in found)
        if (
            users[node] == [following]
            and not (node.name or node.effect or node in kept or length[node] > NESTED)
            and (node.line, node.formula) == (following.line, following.formula)
            and not any(isinstance(op, (Kernel, Draw)) or op is write_region for op in (node.op, following.op))
            and not is_output(following)
        ):
            found.add(node)
    return found


def is_fancy(step: Any) -> bool:
    """Whether a step selects by an array of indices, so that its result is a copy."""
    return bool(nodes_in(step[1])) or any(isinstance(item, (list, np.ndarray)) for item in step[1])


def write_source(
    graph: Graph,
    name: str,
    intro: str,
    results: int,
    in_place: list[tuple[Node, Node]],
    refused: frozenset[int] = frozenset(),
    kernels: bool = True,
    alone: bool = False,
) -> Program:
    """The program of a graph.

    Args:
        graph: after the passes.
        name: of the function.
        intro: its docstring.
        results: how many of the graph's outputs are returned; the others are written to inputs.
        in_place: (value, input): inputs whose memory holds the value in the end.
        refused: positions of nodes that are to be in no kernel.
        kernels: whether chains of operations become kernels, where Numba is there.
        alone: whether it has to do with NumPy's own functions.
    """
    original, pairs = graph, in_place
    functions = elementary_functions() if kernels else None
    if functions is not None:
        graph, place = fuse(graph, functions, refused)
        layers = use_layers(graph, {place[value]: target for value, target in in_place}, refused)
        in_place = [(layers.get(place[value], place[value]), target) for value, target in in_place]
    elif not alone:
        graph, place = forms.run(graph)
        in_place = [(place[value], target) for value, target in in_place]
    memory = plan(graph, results, in_place)
    name_chains(graph, memory)
    inlined = read_next(graph, memory)
    names = unique_names(graph, memory, inlined)
    writer = _Writer(graph, names, memory, functions or ())
    body: list[str] = []
    nested: list[Node] = []  # within the line that comes
    steps: dict[Node, int] = {}
    shown_line = shown_formula = ""
    for node in graph.nodes:
        if node.op is INPUT or is_output(node):
            continue
        if node.op is CONSTANT:
            writer.constant(node, names[node])
            continue
        if is_inline(node):
            names[node] = f"{names[node.args[0]]}.T"
            continue
        if node in inlined:
            names[node] = writer.expression(node)
            if node.op in INFIX or node.op in (np.negative, operator.neg):
                writer.nested.add(node)
            nested.append(node)
            continue
        if node.line and (node.line != shown_line or node.formula != shown_formula):
            body.extend(comment(node, shown_line if shown_formula else ""))
            shown_line, shown_formula = node.line, node.formula
        body += writer.statements(node)
        steps |= dict.fromkeys([*nested, node], len(body))
        nested.clear()
    for node, target in memory.copies:
        body.append(f"np.copyto({names[target]}, {names[node]})")
    returned = [
        names[node] + (".copy()" if node in memory.shared and node.dtype is not None else "")
        for node in graph.outputs[:results]
    ]
    body.append(f"return ({', '.join(returned)}{',' if len(returned) == 1 else ''})")
    parameters = [names[node] for node in original.inputs]
    texts = [text.source for text in writer.kernel_texts.values()]
    if texts:
        writer.imports.add("from chainrule.compiler.kernels.compiling import kernel")
        writer.imports.add(f"from chainrule.compiler.kernels.kinds import {', '.join(kinds_in(texts))}")
    head = [f'"""{intro}"""', "", *sorted(writer.imports, key=lambda line: (line.startswith("from"), line)), ""]
    head += writer.constants + memory.allocations()
    for text in texts:
        head += ["", *text.split("\n"), ""]
    lines = [*head, "", f"def {name}({', '.join(parameters)}):", *(f"    {line}" for line in body), ""]

    def rewrite(more: set[int], kernels: bool = kernels, alone: bool = alone) -> Program:
        return write_source(original, name, intro, results, pairs, refused | more, kernels, alone)

    program = Program(name, "\n".join(lines), original.inputs, writer.objects, writer.kernels, rewrite)
    program.memory, program.graph = memory, graph
    program.steps = {node: len(head) + 2 + i for node, i in steps.items()}
    return program


@functools.cache
def defaults_of(function: Any) -> dict[str, Any]:
    """The parameters of a function of NumPy, in order, with their defaults; nothing for one that does not tell them."""
    if isinstance(function, (np.ufunc, UfuncMethod)) or not str(getattr(function, "__module__", "")).startswith(
        "numpy"
    ):
        return {}
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return {}
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in parameters):
        return {}
    return {x.name: x.default for x in parameters if x.kind is not x.KEYWORD_ONLY}


def without_defaults(node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A call's arguments and keywords that say more than that nothing else is wanted."""
    defaults = defaults_of(node.op)
    known = {*ATOMS} - {float}
    args = node.args
    while not node.kwargs and 1 < len(args) <= len(defaults) and type(args[-1]) in known:
        default = list(defaults.values())[len(args) - 1]
        if type(default) is not type(args[-1]) or default != args[-1]:
            break
        args = args[:-1]
    keywords = {
        key: value
        for key, value in node.kwargs.items()
        if not (key == "keepdims" and value is False)
        and not (
            type(value) in known and key in defaults and type(value) is type(defaults[key]) and value == defaults[key]
        )
    }
    return args, keywords


def shortest(number: np.generic) -> str:
    """A finite floating number in as few digits as tell it from the others of its type; "" for other numbers."""
    text = str(number)
    exact = number.dtype.kind == "f" and np.isfinite(number) and number.dtype.type(float(text)) == number
    return text if exact and text != "0.0" else ""


def comment(node: Node, before: str) -> list[str]:
    """The user's line; in the backward part that whose derivative it is, and the formula.

    Args:
        before: the line of the backward part that stands above, which is not repeated.
    """
    file, _, number = node.line.rpartition(":")
    text = linecache.getline(file, int(number)).strip() if number.isdigit() else ""
    where = f"{os.path.basename(file)}:{number}"
    if text:
        where += f": {text}"
    if not node.formula:
        return [f"# {where}"]
    line = [] if node.line == before else [f"# backward, {where}"]
    return [*line, f"# {' '.join(node.formula.split())}"]


def name_chains(graph: Graph, memory: Plan) -> None:
    """A value without a name that is overwritten by one with a name gets that name at once."""
    heads: dict[Node, Node] = {}
    for node in graph.nodes:
        target = memory.targets.get(node)
        if isinstance(target, Node) and target.op is not INPUT:
            head = heads.get(target, target)
            if not node.name:
                heads[node] = head
            elif not head.name and bool(node.formula) == bool(head.formula):
                head.name = node.name


RESERVED = frozenset(keyword.kwlist) | frozenset(
    """np arena special operator write_region float int bool complex generator in_parts kernel given single
    boolean float32 float64 int32 int64 uint8 uint64""".split()
)


def unique_names(graph: Graph, memory: Plan, inlined: set[Node]) -> dict[Node, str]:
    """Names for the nodes that are valid in Python and do not hide anything; not for those that are written inline.

    One that is written over an operand of its name has that one's.
    """
    names: dict[Node, str] = {}
    counts: dict[str, int] = {}
    functions = {node.op for node in graph.nodes if callable(node.op)}
    taken = {*RESERVED, *(name_of(op) for op in functions if getattr(np, name_of(op), None) is not op)}
    for node in sorted((node for node in graph.nodes if node not in inlined), key=lambda node: not node.name):
        target = memory.targets.get(node)
        if isinstance(target, Node) and target.op is not INPUT and target.name == node.name:
            names[node] = names[target]
            continue
        base = node.name or (name_of(node.op).lstrip("_").replace(".", "_") if callable(node.op) else "constant")
        name = base
        while name in taken:
            counts[base] = counts.get(base, 1) + 1
            name = f"{base}_{counts[base]}"
        taken.add(name)
        names[node] = name
    return names
