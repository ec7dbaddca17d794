"""What a function can reach: the tensors, modules and optimisers that it closes over.

The walk begins at the function and follows what its code names: cells, globals, defaults, attributes, items. It goes
through containers and objects, not into modules of Python or into chainrule's own code.
"""

from __future__ import annotations

import dis
import gc
import operator
import pickle
import random
import sys
import types
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core.recipe import Registry, hooks_of
from ..core.tensor import Tensor
from ..nn.module import Module
from ..random import Generator

__all__ = ["ATOMS", "Found", "names_in", "present", "same", "walk"]

Generators = (np.random.Generator, np.random.RandomState, random.Random)
ATOMS = (str, bytes, int, float, complex, bool, type(None), np.ndarray, np.generic, np.dtype, types.ModuleType, range)
SIMPLE = frozenset((int, float, bool, str, bytes, complex, type(None)))
PACKAGE = __name__.partition(".")[0]
FOREIGN = frozenset((PACKAGE, "numpy", "scipy", "builtins", "math", "torch"))  # modules whose names are not watched
MISSING = object()
VIEWS = tuple(map(type, (vars(sys).keys(), vars(sys).values(), vars(sys).items())))  # of dicts
COUNTED = "the number of the attributes"
OF_MODULES = frozenset(vars(Module()))  # what every module has
OF_OPTIMIZERS = frozenset(("defaults", "param_groups", "state", "_stepping"))
METHODS = (types.FunctionType, staticmethod, classmethod, property)  # which this package may call, such as forward
DESCRIPTORS = (types.MemberDescriptorType, types.GetSetDescriptorType)  # of slots and of __dict__


class Snapshot:
    """A dict, list, set or an object's attributes, as it was.

    Attributes:
        path: how it is called in messages.
        values: the dict, list or set itself.
        items: what it held; of a dict the keys, then the values.
        kind: what it is, in words.
        but: keys of a dict that may change.
    """

    __slots__ = ("but", "items", "kind", "path", "values")

    def __init__(self, path: str, values: Any, kind: str, but: frozenset[str] = frozenset()) -> None:
        self.path = path
        self.values = values
        self.kind = kind
        self.but = but
        self.items = contents(values, but)

    def difference(self) -> str:
        """What is not as it was: a description, empty where all is."""
        now = contents(self.values, self.but)
        if len(now) == len(self.items) and all(map(operator.is_, now, self.items)):
            return ""
        if isinstance(self.values, dict):
            before = self.before()
            for key in [*before, *(key for key in self.values if key not in before and key not in self.but)]:
                if not same(before.get(key, MISSING), self.values.get(key, MISSING)):
                    path = f"{self.path}[{key!r}]" if self.kind in ("dict", "default") else f"{self.path}.{key}"
                    return f"{path}: {shown(before.get(key, MISSING))}, now {shown(self.values.get(key, MISSING))}"
            return "" if all(map(same, now, self.items)) else f"{self.path}: the order of its keys, or their types"
        if len(now) == len(self.items) and all(map(same, now, self.items)):
            return ""
        return f"{self.path}: {len(self.items)} items, now {len(now)}, or other ones"

    def before(self) -> dict[Any, Any]:
        """What a dict held."""
        half = len(self.items) // 2
        return dict(zip(self.items[:half], self.items[half:], strict=True))

    def restore(self) -> None:
        """Make it what it was."""
        if not self.difference():
            return
        if isinstance(self.values, dict):
            others = [(key, self.values[key]) for key in self.but if key in self.values]
            self.values.clear()
            self.values.update(self.before() | dict(others))
        elif isinstance(self.values, list):
            self.values[:] = self.items
        else:
            self.values.clear()
            (self.values.update if isinstance(self.values, set) else self.values.extend)(self.items)


class Attributes:
    """The attributes of a class, or of an object with slots, as a namespace."""

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.get = vars(owner).get if isinstance(owner, type) else self.of_object

    def of_object(self, name: str) -> Any:
        """An attribute of an object."""
        return getattr(self.owner, name, MISSING)

    def __setitem__(self, name: str, value: Any) -> None:
        if value is MISSING:
            delattr(self.owner, name)
        else:
            setattr(self.owner, name, value)


class Count:
    """How many attributes a class has, as a namespace: others may be added than those it had."""

    def __init__(self, kind: type) -> None:
        self.owner = kind
        self.attributes = vars(kind)
        self.names = frozenset(self.attributes)

    def get(self, name: str) -> int:
        """The count."""
        return len(self.attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        """Take those away that it did not have."""
        for new in self.attributes.keys() - self.names:
            delattr(self.owner, new)


class Contents:
    """An array that the function closes over, as it was: NumPy computes with it outside of the program.

    Attributes:
        path: how it is called in messages.
        array: the array itself.
    """

    __slots__ = ("array", "bits", "path", "shape")

    def __init__(self, path: str, array: np.ndarray[Any, Any]) -> None:
        self.path = path
        self.array = array
        self.shape = (array.shape, array.dtype)
        self.bits = bits_of(array).copy()

    def difference(self) -> str:
        """What is not as it was: a description, empty where all is."""
        array = self.array
        if (array.shape, array.dtype) == self.shape:
            bits = bits_of(array)
            alike = map(same, bits, self.bits) if array.dtype.hasobject else (np.array_equal(bits, self.bits),)
            if all(alike):
                return ""
        return f"the values in the array {self.path}"


class Steps:
    """An iterator that the function closes over, and how far it had come.

    Attributes:
        path: how it is called in messages.
        iterator: the iterator itself.
    """

    __slots__ = ("iterator", "path", "place")

    def __init__(self, path: str, iterator: Iterator[Any]) -> None:
        self.path = path
        self.iterator = iterator
        self.place = place_of(iterator)


def place_of(iterator: Any) -> Any:
    """How far an iterator of Python's own has come, as far as that can be seen without a step of it."""
    if isinstance(iterator, types.GeneratorType):
        return None if iterator.gi_frame is None else iterator.gi_frame.f_lasti
    if type(iterator).__module__ == "itertools":
        return repr(iterator)  # which shows the number that count has reached
    return operator.length_hint(iterator, -1) if type(iterator).__module__ == "builtins" else None


def bits_of(array: np.ndarray[Any, Any]) -> Any:
    """An array's memory, in words as long as possible; its elements where these are objects."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if array.dtype.hasobject:
        return flat
    return flat.view(np.uint64 if flat.nbytes % 8 == 0 else np.uint8)


def state_of(generator: Any) -> Any:
    """What a generator of random numbers will draw."""
    return pickle.dumps(generator)


def same(x: Any, y: Any) -> bool:
    """Whether Python code cannot tell the two apart: one object, or equal plain values of one type."""
    if x is y:
        return True
    if type(x) is not type(y) or type(x) not in SIMPLE:
        return False
    return repr(x) == repr(y) if isinstance(x, (float, complex)) else bool(x == y)  # 0.0 and -0.0 are equal


def shown(value: Any) -> str:
    """A value in a message."""
    if value is MISSING:
        return "missing"
    return repr(value) if type(value) in SIMPLE else f"a {type(value).__name__}"


def contents(container: Any, but: frozenset[str]) -> list[Any]:
    """The items of a container, in order; of a dict its keys and then its values, but for some keys."""
    if not isinstance(container, dict):
        return list(container)
    if but:
        container = {key: value for key, value in container.items() if key not in but}
    return [*container, *container.values()]


class Found:
    """The objects of interest, each with the path by which it was reached first.

    Attributes:
        tensors: tensor -> path, such as `model.fc1.weight`.
        modules: those of `chainrule.nn`, in the order in which they were found.
        optimizers: what has groups of parameters and state.
        bindings: (namespace, name, value): the names through which the function reaches them.
        absent: (id of a namespace, name) of those of Python's own, or that are not there yet.
        members: likewise, of the user's classes, whether the function's code mentions them or not.
        snapshots: lists, sets, dicts and attributes of objects on the way.
        parts: attributes and registries of modules, which `CHANGES` counts.
        attributes: (attributes, names) of the user's modules, which can be written to past `__setattr__`.
        derived: (module, attribute, value): what hooks compute anew before each forward pass.
        inner: attributes of chainrule's own objects, such as schedulers.
        names: the names and attributes that the user's code mentions.
        arrays: (path, the last name in it, array): NumPy's, which the trace takes for constants.
        draws: (path, generator of Python's or NumPy's, its state): numbers from these would be drawn once.
        iterators: of these an item would be taken once.
        functions: the user's, which get other code where changed files are loaded again.
    """

    def __init__(self) -> None:
        self.tensors: dict[Tensor, str] = {}
        self.modules: dict[Any, str] = {}
        self.optimizers: dict[Any, str] = {}
        self.bindings: list[tuple[Any, Any, Any]] = []
        self.absent: set[tuple[int, str]] = set()
        self.members: list[tuple[Any, str, Any]] = []
        self.snapshots: list[Snapshot] = []
        self.parts: list[Snapshot] = []
        self.attributes: list[tuple[dict[str, Any], list[str]]] = []
        self.derived: list[tuple[Any, str, Any]] = []
        self.inner: list[Snapshot] = []
        self.names: set[str] = set()
        self.arrays: list[tuple[str, str, Any]] = []
        self.iterators: list[Steps] = []
        self.functions: list[types.FunctionType] = []
        shared: list[tuple[str, Any]] = [("random", random._inst), ("np.random", np.random.mtrand._rand)]
        self.draws = [(path, generator, state_of(generator)) for path, generator in shared]

    def watched(self) -> list[Contents]:
        """The arrays that the user's code mentions, with what they hold."""
        return [Contents(path, x) for path, name, x in self.arrays if (not name or name in self.names) and x.size]

    def changed(self) -> str:
        """What of the names, containers and attributes the function has changed: a description, or nothing."""
        for namespace, name, value in self.bindings:
            if not same(present(namespace, name), value):
                if isinstance(namespace, Count):
                    return f"adds an attribute to the class {namespace.owner.__name__}"
                what = name if name is not None else "a variable of the enclosing function"
                return f"assigns to {what}, which it closes over"
        for snapshot in (*self.snapshots, *self.parts):
            difference = snapshot.difference()
            if difference:
                hint = " (write to its memory, with copy_())" if snapshot.kind == "buffer" else ""
                return f"changes the {snapshot.kind} {difference}, which it closes over{hint}"
        for path, generator, state in self.draws:
            if state_of(generator) != state:
                return f"draws random numbers from {path} (use chainrule's rand, randn, ... in their place)"
        for steps in self.iterators:
            if place_of(steps.iterator) != steps.place:
                return f"takes the next item of the iterator {steps.path}, which it closes over"
        return ""

    def restore(self) -> None:
        """Make names, containers and attributes what they were."""
        for namespace, name, value in self.bindings:
            if same(present(namespace, name), value):  # of a date's day, say, each look makes another number
                continue
            if name is None:
                namespace.cell_contents = value
            elif (id(namespace), name) in self.absent:
                del namespace[name]
            else:
                namespace[name] = value
        for snapshot in (*self.snapshots, *self.parts, *self.inner):
            snapshot.restore()
        for module, name, value in self.derived:
            vars(module)[name] = value


def present(namespace: Any, name: Any) -> Any:
    """What a cell or a global name refers to now."""
    return namespace.cell_contents if name is None else namespace.get(name)


def names_in(code: types.CodeType) -> set[str]:
    """The global names and attributes that a function's code mentions, nested functions included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_in(constant)
        elif isinstance(constant, str) and constant.isidentifier():  # as getattr takes it
            names.add(constant)
    return names


def globals_in(code: types.CodeType) -> set[str]:
    """Of these names the global ones, builtins among them."""
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = (globals_in(constant) for constant in code.co_consts if isinstance(constant, types.CodeType))
    return found.union(*inner)


def walk(*roots: tuple[str, Any]) -> Found:
    """Everything of interest that is reachable from the roots, given as (name, object)."""
    from ..optim.optimizer import Optimizer

    found = Found()
    seen: set[int] = set()
    stack = [*reversed(list(hooks_of_all(found))), *reversed(roots)]
    while stack:
        path, value = stack.pop()
        if type(value) is np.ndarray and id(value) not in seen:
            seen.add(id(value))
            last = path.rpartition(".")[2] if "." in path else ""
            found.arrays.append((path, "" if last.isdigit() else last, value))
        if isinstance(value, Generators) and id(value) not in seen:
            seen.add(id(value))
            found.draws.append((path, value, state_of(value)))
        if id(value) in seen or isinstance(value, (*ATOMS, Generator)):
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            found.tensors.setdefault(value, path)
            stack += [(f"{path}.hook", hook) for hooks in hooks_of(value._node) for hook in hooks]
            continue
        if isinstance(value, Module):
            found.modules.setdefault(value, path)
        if isinstance(value, Optimizer):
            found.optimizers.setdefault(value, path)
            stack += reversed(list(of_optimizer(path, value, found)))
            continue
        stack += reversed(list(children(path, value, found)))
    for space, name, value in found.members:
        if name in found.names:
            found.bindings.append((space, name, value))
    return found


def children(path: str, value: Any, found: Found) -> Iterator[tuple[str, Any]]:
    """What an object leads to, with paths."""
    if isinstance(value, Iterator):
        found.iterators.append(Steps(path, value))
        if type(value).__module__ in ("builtins", "itertools"):  # zip, map, ... take their items from others
            inner = [*gc.get_referents(value)]
            inner += [item for items in inner if type(items) is tuple for item in items]
            yield from ((path, item) for item in inner if isinstance(item, Iterator))
            return
    compiled = getattr(type(value), "compiled_function", None)
    if compiled is not None:
        yield path, value.function
    elif isinstance(value, types.FunctionType):
        yield from of_function(path, value, found)
    elif isinstance(value, types.MethodType):
        yield path, value.__self__
        yield path, value.__func__
    elif isinstance(value, (types.BuiltinMethodType, weakref.ref, types.MappingProxyType, *VIEWS)):
        yield from ((path, item) for item in gc.get_referents(value))  # an object's method, or its other face
        if isinstance(value, weakref.ref):
            yield path, value()
    elif isinstance(value, (list, tuple, set, frozenset, deque)):
        if not isinstance(value, (tuple, frozenset)):
            found.snapshots.append(Snapshot(path, value, type(value).__name__))
        for i, item in enumerate(value):
            yield f"{path}.{i}", item
        yield from of_object(path, value, found)
    elif isinstance(value, dict):
        found.snapshots.append(Snapshot(path, value, "dict"))
        for key, item in list(value.items()):
            yield (f"{path}.{key}" if isinstance(key, (str, int)) else path), item
        if getattr(value, "__dict__", value) is not value:
            yield from of_object(path, value, found)
    elif isinstance(value, type):
        yield from of_class(path, value, found, called=True)
    elif {"_modules", "_parameters"} <= getattr(value, "__dict__", {}).keys():
        yield from of_module(path, value, found)
    else:
        for name in ("func", "args", "keywords", "__wrapped__"):
            item = getattr(value, name, None) if callable(value) else None
            if item is not None:
                yield path, item
        yield from of_object(path, value, found)


def of_object(path: str, value: Any, found: Found) -> Iterator[tuple[str, Any]]:
    """The attributes of an object and of its class."""
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        home = found.snapshots if is_users(type(value)) else found.inner
        home.append(Snapshot(path, attributes, "attribute"))
    for name, item in list((attributes or {}).items()):
        yield join(path, name), item
    yield from of_slots(path, value, found)
    yield from of_class(path, type(value), found)


def of_module(path: str, module: Any, found: Found) -> Iterator[tuple[str, Any]]:
    """The parameters, buffers, children and other attributes of a module."""
    for registry in (module._parameters, module._buffers, module._modules):
        home = found.parts if type(registry) is Registry else found.snapshots
        home.append(Snapshot(path, registry, "buffer" if registry is module._buffers else "attribute"))
        for name, item in registry.items():
            yield join(path, name), item
    attributes = vars(module)
    derived = frozenset(getattr(hook, "derives", "") for hook in module._forward_pre_hooks.values()) & attributes.keys()
    found.derived += [(module, name, attributes[name]) for name in sorted(derived)]
    found.parts.append(Snapshot(path, attributes, "attribute", derived))
    if is_users(type(module)):
        found.attributes.append((attributes, sorted(attributes.keys() - OF_MODULES - derived)))
    for name, item in list(attributes.items()):
        if name in derived:
            continue
        if name.endswith("_hooks"):
            yield from of_hooks(join(path, name), item, found)
        elif name not in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            yield join(path, name), item
    yield from of_class(path, type(module), found)


def of_optimizer(path: str, optimizer: Any, found: Found) -> Iterator[tuple[str, Any]]:
    """The parameters and hooks of an optimiser, and what a user's own class of them has besides."""
    parameters = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    yield from ((f"{path}.params.{i}", tensor) for i, tensor in enumerate(parameters))
    for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
        yield from of_hooks(join(path, name), getattr(optimizer, name), found)
    if is_users(type(optimizer)):
        attributes = vars(optimizer)
        own = frozenset(name for name in attributes if name in OF_OPTIMIZERS or name.startswith("_optimizer_"))
        found.snapshots.append(Snapshot(path, attributes, "attribute", own))
        yield from ((join(path, name), item) for name, item in attributes.items() if name not in own)
        yield from of_class(path, type(optimizer), found)


def of_hooks(path: str, hooks: dict[Any, Any], found: Found) -> Iterator[tuple[str, Any]]:
    """The hooks in a registry, whose changes `CHANGES` counts."""
    found.parts.append(Snapshot(path, hooks, "dict"))
    yield from ((path, hook) for hook in hooks.values())


def hooks_of_all(found: Found) -> Iterator[tuple[str, Any]]:
    """The hooks of all modules and of all optimisers."""
    from ..nn.hooks import EveryModule
    from ..optim.optimizer import POST_HOOKS, PRE_HOOKS

    for hooks in (EveryModule.forward_pre, EveryModule.forward, EveryModule.backward_pre, EveryModule.backward):
        yield from of_hooks("the hooks of all modules", hooks, found)
    for hooks in (PRE_HOOKS, POST_HOOKS):
        yield from of_hooks("the hooks of all optimisers", hooks, found)


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def is_users(kind: type) -> bool:
    """Whether a class is the user's own, whose attributes may steer the function."""
    return str(getattr(kind, "__module__", "")).partition(".")[0] not in FOREIGN


def of_class(path: str, kind: type, found: Found, called: bool = False) -> Iterator[tuple[str, Any]]:
    """What the methods and attributes of a user's class lead to; where it is `called`, `__init__` as well."""
    spaces: list[Attributes] = []
    for base in kind.__mro__:
        if base is object or not is_users(base):
            continue
        spaces.append(Attributes(base))
        found.bindings.append((Count(base), COUNTED, len(vars(base))))
        for name, item in vars(base).items():
            function = getattr(item, "__func__", getattr(item, "fget", item))
            if isinstance(function, types.FunctionType):
                yield path, function
            elif not name.startswith("__") and type(item) not in DESCRIPTORS:
                yield join(path, name), item
            if name == "__init__" and not called:
                continue
            if type(item) in METHODS or (not name.startswith("__") and type(item) not in DESCRIPTORS):
                # a class before this one may come to have it, too
                home = found.bindings if type(item) in METHODS else found.members
                home += [(space, name, space.get(name)) for space in spaces]


def of_slots(path: str, value: Any, found: Found) -> Iterator[tuple[str, Any]]:
    """What the slots of an object of a user's class lead to."""
    space = Attributes(value)
    for base in type(value).__mro__:
        for name, item in vars(base).items() if is_users(base) else ():
            if type(item) is types.MemberDescriptorType:
                found.members.append((space, name, space.get(name)))
                if hasattr(value, name):
                    yield join(path, name), getattr(value, name)


def of_names(module: types.ModuleType, mentioned: set[str], found: Found) -> Iterator[tuple[str, Any]]:
    """What the function mentions of a module and of those in it, the user's or this package's: names may change."""
    stack, seen = [module], set()
    while stack:
        module = stack.pop()
        home = str(module.__name__).partition(".")[0]
        if module in seen or (home in FOREIGN and home != PACKAGE):
            continue
        seen.add(module)
        namespace = vars(module)
        for name in sorted(mentioned & namespace.keys()):
            value = namespace[name]
            found.bindings.append((namespace, name, value))
            if isinstance(value, types.ModuleType):
                stack.append(value)
            elif home != PACKAGE:
                yield name, value


def of_function(path: str, function: types.FunctionType, found: Found) -> Iterator[tuple[str, Any]]:
    """What a function's cells, defaults and globals lead to."""
    if str(function.__module__).partition(".")[0] == PACKAGE:
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None:
            yield path, wrapped
        return
    if function.__dict__:
        found.snapshots.append(Snapshot(path or function.__name__, function.__dict__, "attribute"))
        yield from ((join(path, name), item) for name, item in function.__dict__.items())
    code = function.__code__
    mentioned = names_in(code)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
        found.bindings.append((cell, None, content))
        if isinstance(content, types.ModuleType):
            yield from of_names(content, mentioned, found)
        yield name, content
    home = str(function.__module__).partition(".")[0]
    if home in sys.stdlib_module_names and home != "__main__":  # what Python's own modules remember is their own
        return
    found.functions.append(function)
    if function.__defaults__:
        found.bindings.append((Attributes(function), "__defaults__", function.__defaults__))
    namespace = function.__globals__
    found.names |= mentioned
    absent = globals_in(code) - namespace.keys()
    found.bindings += [(namespace, name, None) for name in absent]
    found.absent |= {(id(namespace), name) for name in absent}
    for name in sorted(mentioned):
        if name not in namespace:
            module = sys.modules.get(name)  # imported by the function itself
            if module is not None and name.partition(".")[0] not in sys.stdlib_module_names:
                yield from of_names(module, mentioned, found)
            continue
        content = namespace[name]
        found.bindings.append((namespace, name, content))
        if isinstance(content, types.ModuleType):
            yield from of_names(content, mentioned, found)
        yield name, content
    yield from ((path, item) for item in function.__defaults__ or ())
    if function.__kwdefaults__:
        found.bindings.append((Attributes(function), "__kwdefaults__", function.__kwdefaults__))
        found.snapshots.append(Snapshot(function.__name__, function.__kwdefaults__, "default"))
        yield from ((path, item) for item in function.__kwdefaults__.values())
