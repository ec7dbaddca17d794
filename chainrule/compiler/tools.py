"""What a program does and where its time goes: `stats`, `profile`, and `save`, which makes it a file of its own."""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..core.table import name_of
from .bundle import PACKAGE, bundle
from .graph import CONSTANT, INPUT, Node
from .kernels.convolution import LayerKernel
from .kernels.products import Product
from .memory import VIEWS
from .passes.fusion import Kernel, is_output
from .source import Program
from .tracer import UfuncMethod

__all__ = ["Line", "Profile", "Stats", "profile", "save", "stats"]

IMPORT = re.compile(rf"^from ({PACKAGE}\S*) import (\w+)$", re.MULTILINE)
PRODUCTS = frozenset((np.dot, np.matmul, np.vdot, np.inner))


# ----- counting -----


def operations(node: Node) -> int:
    """Floating-point operations of a step: two for each product in a matrix product, one an element elsewhere."""
    if isinstance(node.op, LayerKernel):
        return node.op.operations
    if isinstance(node.op, Kernel):
        return sum(operations(inner) for inner in node.op.nodes)
    if node.op in (INPUT, CONSTANT) or node.op in VIEWS or is_output(node):
        return 0
    first = next(iter(node.operands()), None)
    if node.op in PRODUCTS and first is not None and first.shape:
        return 2 * node.size * first.shape[-1]
    if isinstance(node.op, UfuncMethod) or (first is not None and first.size > node.size):
        return 0 if first is None else first.size  # a reduction
    return node.size if isinstance(node.op, np.ufunc) or node.op is np.where else 0


def moved(node: Node) -> int:
    """Bytes that a step must read and write at least."""
    if node.op in (INPUT, CONSTANT) or is_output(node) or (node.op in VIEWS and node.op is not np.astype):
        return 0
    read = sum(operand.nbytes for operand in dict.fromkeys(node.operands()))
    if isinstance(node.op, Kernel):
        return read + sum(inner.nbytes for inner in node.op.outputs)
    return read + node.nbytes


class Stats(NamedTuple):
    """What a program does in one run."""

    steps: int
    kernels: int
    matmuls: int
    bytes_moved: int
    operations: int
    arena_bytes: int
    compile_seconds: float

    def __str__(self) -> str:
        rows = [
            ("steps", f"{self.steps:,}"),
            ("kernels", f"{self.kernels:,}"),
            ("matrix products", f"{self.matmuls:,}"),
            ("bytes moved", f"{self.bytes_moved:,}"),
            ("floating-point operations", f"{self.operations:,}"),
            ("bytes of buffers", f"{self.arena_bytes:,}"),
            ("seconds to compile", f"{self.compile_seconds:.3f}"),
        ]
        return "\n".join(f"{name:<26}{value:>16}" for name, value in rows)


def stats(variant: Any) -> Stats:
    """The counts of a variant's programs together."""
    programs = [variant.forward] + ([] if variant.backward is None else [variant.backward])
    nodes = [node for program in programs for node in program.steps]
    return Stats(
        len(nodes),
        sum(isinstance(node.op, Kernel) for node in nodes),
        sum(node.op in PRODUCTS or isinstance(node.op, Product) for node in nodes),
        sum(map(moved, nodes)),
        sum(map(operations, nodes)),
        sum(program.memory.nbytes for program in programs),
        variant.seconds,
    )


# ----- measuring -----


@functools.cache
def bandwidth() -> float:
    """Bytes a second that a copy of a large array reads and writes, measured."""
    source = np.ones(1 << 22, np.float64)
    target = np.empty_like(source)
    return 2 * source.nbytes / best(lambda: np.copyto(target, source))


@functools.cache
def matmul_rate(dtype: np.dtype[Any]) -> float:
    """Floating-point operations a second of a product of large matrices, measured."""
    x = np.ones((768, 768), dtype)
    out = np.empty_like(x)
    return 2 * 768**3 / best(lambda: np.dot(x, x, out=out))


def best(run: Any, times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def floor(node: Node) -> float:
    """The least seconds that a step can take here, by what it moves and multiplies."""
    seconds = moved(node) / bandwidth()
    if node.op in PRODUCTS and node.dtype is not None and node.dtype in (np.float32, np.float64):
        seconds = max(seconds, operations(node) / matmul_rate(node.dtype))
    return seconds


class Line(NamedTuple):
    """A line of a program: its text, the median of its times, and the machine's floor for it, in seconds."""

    number: int
    text: str
    seconds: float
    floor: float


class Profile:
    """Times by line of `source`; prints as a table, the slowest lines first.

    Attributes:
        lines: the lines in the program's order.
        seconds: all of them together.
    """

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.seconds = sum(line.seconds for line in lines)

    def __str__(self) -> str:
        rows = [f"{'µs':>9} {'share':>6} {'floor':>9}  line"]
        for line in sorted(self.lines, key=lambda line: -line.seconds):
            share = line.seconds / self.seconds if self.seconds else 0.0
            rows.append(f"{line.seconds * 1e6:9.1f} {share:6.1%} {line.floor * 1e6:9.1f}  {line.number}: {line.text}")
        least = sum(line.floor for line in self.lines)
        return "\n".join([*rows, f"{self.seconds * 1e6:9.1f} {1:6.0%} {least * 1e6:9.1f}  all"])

    __repr__ = __str__


def profile(variant: Any, n: int = 20) -> Profile:
    """Run the forward program `n` times on copies of its last inputs, with a clock after every line.

    Raises:
        RuntimeError: the program has not been run yet.
    """
    if variant.last_inputs is None:
        raise RuntimeError(f"{variant.forward.name} has not been run yet: call it once")
    program: Program = variant.forward
    lines = program.source.split("\n")
    ticks: list[tuple[int, float]] = []

    def tick(number: int) -> None:
        ticks.append((number, time.perf_counter()))

    namespace = {**variant.run_forward.__globals__, "_tick": tick}
    exec(compile(clocked(program), f"<profile of {program.name}>", "exec"), namespace)
    states = [(g, g.get_state()) for g in program.objects.values() if hasattr(g, "get_state")]
    times: dict[int, list[float]] = {}
    try:
        for _ in range(n):
            inputs = [x.copy() if isinstance(x, np.ndarray) else x for x in variant.last_inputs]
            ticks.clear()
            before = time.perf_counter()
            namespace[program.name](*inputs)
            for number, now in ticks:
                times.setdefault(number, []).append(now - before)
                before = now
    finally:
        for generator, state in states:
            generator.set_state(state)
    floors: dict[int, float] = {}
    for node, number in program.steps.items():
        floors[number] = floors.get(number, 0.0) + floor(node)
    found = [
        Line(number, lines[number - 1].strip(), float(np.median(seconds)), floors.get(number, 0.0))
        for number, seconds in sorted(times.items())
    ]
    return Profile(found)


def clocked(program: Program) -> ast.Module:
    """The program's function, which calls `_tick(line)` after each statement."""
    tree = ast.parse(program.source)
    function = next(item for item in tree.body if isinstance(item, ast.FunctionDef) and item.name == program.name)

    def with_ticks() -> Iterator[ast.stmt]:
        for statement in function.body:
            if isinstance(statement, ast.Return):
                yield statement
                continue
            yield statement
            yield ast.parse(f"_tick({statement.lineno})").body[0]

    function.body = list(with_ticks())
    return ast.fix_missing_locations(ast.Module([function], []))


# ----- saving -----


def save(variant: Any, path: str | os.PathLike[str]) -> None:
    """Write the program to `path`, and the way back, if there is one, to a file beside it that ends in `_backward.py`.

    Raises:
        TypeError: the program refers to an object that cannot be written down.
    """
    path = os.fspath(path)
    save_program(variant.forward, path)
    if variant.backward is not None:
        save_program(variant.backward, f"{os.path.splitext(path)[0]}_backward.py")


def save_program(program: Program, path: str) -> None:
    plain = program if program.rewrite is None else program.rewrite(set(), kernels=False, alone=True)
    arrays: dict[str, Any] = {}
    head: list[str] = []
    last: list[str] = []  # after the functions
    imports: list[str] = []
    for name, value in plain.objects.items():
        if isinstance(value, np.ndarray):
            arrays[name] = value
            head.append(f"{name} = _saved[{name!r}]")
        elif hasattr(value, "numbers") and hasattr(value, "get_state"):
            head += [
                f"{name} = types.SimpleNamespace(numbers=np.random.default_rng())",
                f"{name}.numbers.bit_generator.state = {value.numbers.bit_generator.state!r}",
            ]
        elif type(value).__module__.partition(".")[0] == PACKAGE:
            imports.append(f"from {type(value).__module__} import {type(value).__name__}\n")
            last.append(f"{name} = {type(value).__name__}({', '.join(made_of(name, value, arrays))})")
        else:
            raise TypeError(f"{program.name} refers to {name_of(value)}, which cannot be written to a file")
    text = plain.source.replace("import numpy as np\n", "".join(["import numpy as np\n", *imports]), 1)
    text = with_functions(text)
    if last:
        text = text.replace(f"\ndef {program.name}(", "\n".join(["", *last, "", f"def {program.name}("]), 1)
    if head or arrays:
        beside = os.path.splitext(os.path.basename(path))[0] + ".npz"
        needed = ["import types"]
        if arrays:
            needed.insert(0, "import os")
            np.savez(os.path.join(os.path.dirname(os.path.abspath(path)), beside), **arrays)
            head.insert(0, f'_saved = np.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), "{beside}"))')
        text = text.replace("import numpy as np\n", "\n".join([*needed, "import numpy as np", *head, ""]), 1)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def made_of(name: str, value: Any, arrays: dict[str, Any]) -> Iterator[str]:
    """The arguments with which an object of this package is made again; arrays go to `arrays`.

    Raises:
        TypeError: an argument is neither an array nor a number.
    """
    for parameter in inspect.signature(type(value)).parameters:
        part = getattr(value, parameter, None)
        if isinstance(part, np.ndarray):
            arrays[f"{name}_{parameter}"] = part
            yield f"{parameter}=_saved[{f'{name}_{parameter}'!r}]"
        elif part is None or isinstance(part, (bool, int, float, str)):
            yield f"{parameter}={part!r}"
        else:
            raise TypeError(f"{parameter} of {value!r} cannot be written to a file")


def with_functions(text: str) -> str:
    """A program's text with the functions of this package that it imports written into it."""
    ours = [(f"from {module} import {name}\n", module, name) for module, name in IMPORT.findall(text)]
    if not ours:
        return text
    imports, functions = bundle([(module, name) for _, module, name in ours])
    for line, _, _ in ours:
        text = text.replace(line, "")
    first = text.index("\ndef ")
    head, body = text[:first], text[first:]
    more = [line for line in imports if f"{line}\n" not in head]
    head = head.replace("import numpy as np\n", "\n".join([*more, "import numpy as np", ""]), 1)
    start = head.index("\n\n") + 2  # after the docstring
    return f"{head[:start]}from __future__ import annotations\n\n{head[start:]}\n\n{functions}\n\n{body}"
