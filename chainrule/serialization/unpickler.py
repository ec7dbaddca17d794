"""A machine for pickles that can build containers and call what it is given a list of, and nothing else.

It does not look up names: `find_global` says what a name stands for, and raises for all that it does not know. A
function on the stack is called only through `calls`, whose functions check their arguments; no `__setstate__`,
`__reduce__` or attribute of a class is ever used. The machine is a loop, so depth costs nothing, and reads from bytes,
so a length that is not there raises. Read next: `reading.py`, what a checkpoint's names stand for.
"""

from __future__ import annotations

import pickle
import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pickle import UnpicklingError
from typing import Any

__all__ = ["Named", "Unpickler", "check_key", "shown"]

DAMAGE = (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError, struct.error)
MAPPINGS = (dict, OrderedDict, Counter, defaultdict)
SIZED = (list, dict, str, bytes, tuple)
LARGEST_KEY = 100  # parts of a key of a dict


class Named:
    """Stands on the stack for a function that a checkpoint may call."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


class _Mark:
    """Stands on the stack where the parts of a container begin."""


MARK = _Mark()


def shown(text: str) -> str:
    """A name from a file, made fit for a message."""
    printable = text if text.isprintable() else ascii(text)[1:-1]
    return printable if len(printable) <= 200 else f"{printable[:200]}..."


def check_key(key: Any) -> None:
    """Refuse what cannot be a key, or what it would take forever to hash."""
    waiting, count = [key], 0
    while waiting:
        part = waiting.pop()
        count += 1
        if count > LARGEST_KEY:
            raise UnpicklingError("a key of a dict or member of a set has too many parts")
        if type(part) in (tuple, frozenset):
            if len(part) > LARGEST_KEY:
                raise UnpicklingError("a key of a dict or member of a set has too many parts")
            waiting.extend(part)
        elif type(part).__hash__ is None:
            raise UnpicklingError(f"a {type(part).__name__} cannot be a key of a dict or a member of a set")


class Unpickler:
    """One pickle and the machine's state.

    Args:
        data: the pickle.
        find_global: (module, name) to what the name stands for.
        calls: function or class to what is called in its place with the arguments.
        news: the same for classes of which empty objects are made.
        build: (object, state) puts state into an object.
        persistent_load: what a persistent id stands for.
    """

    def __init__(
        self,
        data: bytes,
        find_global: Callable[[str, str], Any],
        calls: Mapping[Any, Callable[..., Any]],
        news: Mapping[Any, Callable[[], Any]],
        build: Callable[[Any, Any], None],
        persistent_load: Callable[[Any], Any],
    ) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.budget = (
            8 * len(data) + 1000
        )  # how much calls may copy: a part that is remembered costs nothing to name again
        self.memo: dict[int, Any] = {}
        self.find_global = find_global
        self.calls = calls
        self.news = news
        self.build = build
        self.persistent_load = persistent_load

    def load(self) -> Any:
        """The object.

        Raises:
            UnpicklingError: the pickle is damaged, or asks for something that it does not get.
        """
        try:
            while True:
                code = self.data[self.position]
                self.position += 1
                if code == pickle.STOP[0]:
                    return self.pop()
                operation = OPERATIONS.get(code)
                if operation is None:
                    raise UnpicklingError(f"operation {bytes((code,))!r} is not one that a checkpoint needs")
                operation(self)
        except UnpicklingError:
            raise
        except DAMAGE as error:
            raise UnpicklingError(f"the pickle is damaged near byte {self.position} ({error!r:.300})") from None

    # ---- reading ---------------------------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise UnpicklingError(f"the pickle ends at byte {len(self.data)}, but {count} more are needed")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.index(b"\n", self.position)
        return self.take(end + 1 - self.position)[:-1].decode()

    # ---- the stack -------------------------------------------------------------------------------------------------

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is MARK:
            raise UnpicklingError("the pickle is damaged: a container begins and does not end")
        return value

    def top(self, *kinds: type) -> Any:
        value = self.stack[-1]
        if type(value) not in kinds:
            raise UnpicklingError(f"the pickle adds to a {type(value).__name__} as if it were a {kinds[0].__name__}")
        return value

    def pop_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is MARK:
                parts = self.stack[i + 1 :]
                del self.stack[i:]
                return parts
        raise UnpicklingError("the pickle is damaged: a container ends that did not begin")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    # ---- containers ------------------------------------------------------------------------------------------------

    def pack(self, count: int) -> None:
        parts = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(parts)))

    def append(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def set_items(self, parts: list[Any]) -> None:
        mapping = self.top(*MAPPINGS)
        if len(parts) % 2:
            raise UnpicklingError("the pickle is damaged: a dict has a key without a value")
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            check_key(key)
            mapping[key] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def add_items(self, parts: list[Any]) -> None:
        members = self.top(set)
        for part in parts:
            check_key(part)
            members.add(part)

    def frozen_set(self, parts: list[Any]) -> None:
        for part in parts:
            check_key(part)
        self.push(frozenset(parts))

    # ---- the memo --------------------------------------------------------------------------------------------------

    def put(self, index: int) -> None:
        if self.stack[-1] is MARK:
            raise UnpicklingError("the pickle is damaged: it remembers a mark")
        self.memo[index] = self.stack[-1]

    # ---- names and calls -------------------------------------------------------------------------------------------

    def global_(self) -> None:
        self.push(self.find_global(self.line(), self.line()))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise UnpicklingError("the pickle names a function by something that is no text")
        self.push(self.find_global(module, name))

    def instance(self) -> None:
        module, name = self.line(), self.line()
        self.find_global(module, name)
        raise UnpicklingError(
            f"the pickle makes an object of {shown(module)}.{shown(name)} in a way that is not loaded"
        )

    def extension(self, form: str) -> None:
        raise UnpicklingError(f"the pickle asks for number {self.number(form)} of Python's extension registry")

    def call(self, table: Mapping[Any, Callable[..., Any]], what: str) -> None:
        args, function = self.pop(), self.pop()
        rule = table.get(function) if isinstance(function, (type, Named)) else None
        if rule is None:
            raise UnpicklingError(f"the pickle {what} {_name(function)}, which is not loaded")
        if type(args) is not tuple:
            raise UnpicklingError(f"the pickle {what} {_name(function)} with arguments that are no tuple")
        self.spend(args)
        self.push(rule(*args))

    def spend(self, parts: Any) -> None:
        """Refuse a pickle that has the same large thing copied again and again."""
        self.budget -= sum(len(part) for part in parts if type(part) in SIZED)
        if self.budget < 0:
            raise UnpicklingError("the pickle makes much more of its content than it holds")

    def set_state(self) -> None:
        state = self.pop()
        self.spend(state if type(state) is tuple else (state,))
        if self.stack[-1] is MARK:
            raise UnpicklingError("the pickle is damaged: it gives a mark a state")
        self.build(self.stack[-1], state)

    def persistent(self) -> None:
        self.push(self.persistent_load(self.pop()))


def _name(function: Any) -> str:
    if isinstance(function, Named):
        return function.name
    return function.__qualname__ if isinstance(function, type) else f"a {type(function).__name__}"


def _long(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


OPERATIONS: dict[int, Callable[[Unpickler], Any]] = {
    code[0]: operation
    for code, operation in {
        pickle.PROTO: lambda m: m.take(1),
        pickle.FRAME: lambda m: m.take(8),
        pickle.MARK: lambda m: m.push(MARK),
        pickle.POP: lambda m: m.stack.pop(),
        pickle.POP_MARK: lambda m: m.pop_mark(),
        pickle.NONE: lambda m: m.push(None),
        pickle.NEWTRUE: lambda m: m.push(True),
        pickle.NEWFALSE: lambda m: m.push(False),
        pickle.BININT: lambda m: m.push(m.number("<i")),
        pickle.BININT1: lambda m: m.push(m.number("<B")),
        pickle.BININT2: lambda m: m.push(m.number("<H")),
        pickle.LONG1: lambda m: m.push(_long(m.take(m.number("<B")))),
        pickle.LONG4: lambda m: m.push(_long(m.take(m.number("<i")))),
        pickle.BINFLOAT: lambda m: m.push(m.number(">d")),
        pickle.BINUNICODE: lambda m: m.push(m.take(m.number("<I")).decode("utf-8", "surrogatepass")),
        pickle.SHORT_BINUNICODE: lambda m: m.push(m.take(m.number("<B")).decode("utf-8", "surrogatepass")),
        pickle.BINUNICODE8: lambda m: m.push(m.take(m.number("<Q")).decode("utf-8", "surrogatepass")),
        pickle.SHORT_BINSTRING: lambda m: m.push(m.take(m.number("<B")).decode()),
        pickle.BINSTRING: lambda m: m.push(m.take(m.number("<i")).decode()),
        pickle.SHORT_BINBYTES: lambda m: m.push(m.take(m.number("<B"))),
        pickle.BINBYTES: lambda m: m.push(m.take(m.number("<I"))),
        pickle.BINBYTES8: lambda m: m.push(m.take(m.number("<Q"))),
        pickle.BYTEARRAY8: lambda m: m.push(bytearray(m.take(m.number("<Q")))),
        pickle.EMPTY_TUPLE: lambda m: m.push(()),
        pickle.EMPTY_LIST: lambda m: m.push([]),
        pickle.EMPTY_DICT: lambda m: m.push({}),
        pickle.EMPTY_SET: lambda m: m.push(set()),
        pickle.TUPLE1: lambda m: m.pack(1),
        pickle.TUPLE2: lambda m: m.pack(2),
        pickle.TUPLE3: lambda m: m.pack(3),
        pickle.TUPLE: lambda m: m.push(tuple(m.pop_mark())),
        pickle.APPEND: lambda m: m.append([m.pop()]),
        pickle.APPENDS: lambda m: m.append(m.pop_mark()),
        pickle.SETITEM: Unpickler.set_item,
        pickle.SETITEMS: lambda m: m.set_items(m.pop_mark()),
        pickle.ADDITEMS: lambda m: m.add_items(m.pop_mark()),
        pickle.FROZENSET: lambda m: m.frozen_set(m.pop_mark()),
        pickle.BINGET: lambda m: m.push(m.memo[m.number("<B")]),
        pickle.LONG_BINGET: lambda m: m.push(m.memo[m.number("<I")]),
        pickle.BINPUT: lambda m: m.put(m.number("<B")),
        pickle.LONG_BINPUT: lambda m: m.put(m.number("<I")),
        pickle.MEMOIZE: lambda m: m.put(len(m.memo)),
        pickle.GLOBAL: Unpickler.global_,
        pickle.STACK_GLOBAL: Unpickler.stack_global,
        pickle.INST: Unpickler.instance,
        pickle.EXT1: lambda m: m.extension("<B"),
        pickle.EXT2: lambda m: m.extension("<H"),
        pickle.EXT4: lambda m: m.extension("<i"),
        pickle.REDUCE: lambda m: m.call(m.calls, "calls"),
        pickle.NEWOBJ: lambda m: m.call(m.news, "makes an object of"),
        pickle.BUILD: Unpickler.set_state,
        pickle.BINPERSID: Unpickler.persistent,
    }.items()
}
