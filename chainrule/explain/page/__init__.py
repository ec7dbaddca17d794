"""The page: a backward pass to step through, as one HTML file that needs nothing else, no network either.

Python lays out the graph, typesets the formulas and writes all of it as JSON; `page.js` shows it with `page.css`. Text
of the user's is data throughout: the script makes elements and sets their text, and never reads text as markup.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..formula import latex_name
from ..mathml import FORMS, typeset
from ..spans import too_long
from ..steps import Argument, GraphNode, Step
from ..values import Value, number_text
from .placing import Frame, place

if TYPE_CHECKING:
    from ..explanation import Explanation

__all__ = ["MOST", "Inline", "page", "page_data"]

MOST = 4000  # nodes or steps: of larger graphs the page shows both ends
ENDS = 50  # steps at either end
WIDEST = 30  # characters in a line of a box
FITS = 24  # characters of numbers in a box
LINE, CHARACTER, PADDING = 16.0, 7.3, 20.0  # of the text in a box, in pixels

PLACE = re.compile(r"(?P<where>cell line \d+|.*?:\d+)(?:: (?P<text>.*))?", re.DOTALL)


def page(told: Explanation) -> str:
    """The page as HTML.

    Raises:
        ImportError: there is no Graphviz, which lays out the graph; names the extra that brings it.
    """
    parts = {name: _part(name) for name in ("page.html", "page.css", "page.js")}
    data = json.dumps(packed(page_data(told)), allow_nan=False, separators=(",", ":"))
    for sign in "<>&":  # no text can end the element that it stands in
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    fields = {
        "title": html.escape(told.title.replace("`", "")),
        "script": parts["page.js"],
        "style": parts["page.css"],
        "data": data,
        "script_hash": _hash(parts["page.js"]),
        "style_hash": _hash(parts["page.css"]),
    }
    text = re.sub(r"\{\{(\w+)\}\}", lambda match: fields[match[1]], parts["page.html"])
    return text.encode("utf-8", "replace").decode()  # a name may have half a surrogate pair in it


class Inline:
    """The page in a frame, as notebooks show it."""

    def __init__(self, told: Explanation, height: int) -> None:
        self._title = told.title
        self._text = page(told)
        self._height = int(height)

    def _repr_html_(self) -> str:
        title = html.escape(self._title.replace("`", ""))
        look = f"width: 100%; height: {self._height}px; border: 1px solid #8884; border-radius: 8px"
        source = html.escape(self._text)
        return f'<iframe title="{title}" sandbox="allow-scripts" style="{look}" srcdoc="{source}"></iframe>'

    def __repr__(self) -> str:
        return f"{self._title}: a page for notebooks"


def _part(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def page_data(told: Explanation) -> dict[str, Any]:
    """What the page shows, as plain values ready for JSON. All numbers are text: NaN and infinity as well."""
    steps, left_out = told.steps, 0
    if max(len(steps), len(told.nodes)) > MOST:
        left_out = max(len(steps) - 2 * ENDS, 0)
        steps = steps[:ENDS] + steps[ENDS + left_out :]
    boxes = _Boxes(told, steps, is_whole=not left_out and len(told.nodes) <= MOST)
    return {
        "title": told.title.replace("`", ""),
        "about": [text for text in (_subject(told), told.summary, told.about_complex, told.hint) if text],
        "forms": {
            form: [tag, {k: v for k, v in marks.items() if k != "style"}] for form, (tag, marks) in FORMS.items()
        },
        "total": len(told.steps),
        **boxes.data(),
        "seeds": [
            {
                "node": boxes.numbers[end],
                "name": _name(told.nodes[end].name),
                "short": short(seed),
                "value": _value(seed),
            }
            for end, seed in zip(told.data.ends, told.data.seeds, strict=True)
        ],
        "steps": [_step(told, step, boxes) for step in steps],
    }


def _without_style(marks: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in marks.items() if name != "style"}  # the page has a style sheet


def _seed(node: GraphNode, number: int, seed: Value) -> dict[str, Any]:
    return {"node": number, "name": _name(node.name), "short": short(seed), "value": _value(seed)}


def _note(note: str) -> list[Any]:
    """Words, and formulas between dollar signs."""
    return [typeset(part) if i % 2 else part for i, part in enumerate(note.split("$"))] if note else []


def _subject(told: Explanation) -> str:
    return f"{told.nodes[told.data.ends[0]].name} = {told.of}" if told.of else ""


def _step(told: Explanation, step: Step, boxes: _Boxes) -> dict[str, Any]:
    """A step of the page; what is empty is left out."""
    pieces = told.tell(step)
    left, _, right = step.formula.partition(" = ")
    target = told.nodes[step.target]
    found: dict[str, Any] = {
        "number": step.number,
        "node": boxes.numbers[step.node],
        "target": boxes.numbers[step.target],
        "edge": boxes.edges.get((step.node, step.position)),
        "heading": pieces.heading,
        "left": typeset(left if right else rf"\nabla_{{{latex_name(target.name)}}} L"),
        "right": typeset(right) if right else None,
        "numbers": typeset(step.numbers) if step.numbers else None,
        "note": [typeset(part) if i % 2 else part for i, part in enumerate(step.note.split("$"))]
        if step.note
        else None,
        "used": [{"name": _name(name), "value": _value(value)} for name, value in pieces.used],
        "result": _value(step.contribution),
        "said": pieces.said,
        "before": None if step.before is None else short(step.before),
        "after": short(step.after),
    }
    return {key: value for key, value in found.items() if value not in (None, [], "")}


class _Boxes:
    """The boxes of the graph: its nodes, the constants given to them, and one for all that is left out."""

    def __init__(self, told: Explanation, steps: list[Step], is_whole: bool) -> None:
        self.told = told
        kept = range(len(told.nodes)) if is_whole else sorted(_near(told, steps))
        self.numbers = {number: i for i, number in enumerate(kept)}
        self.boxes: list[dict[str, Any]] = []
        self.pairs: list[tuple[int, int]] = []
        self.edges: dict[tuple[int, int], int] = {}  # (node, argument) -> the arrow
        widest: dict[int, int] = {}
        for end, seed in zip(told.data.ends, told.data.seeds, strict=True):
            widest[end] = len(short(seed))
        for step in steps:
            widest[step.target] = max(len(short(step.after)), widest.get(step.target, 0))
        for number in kept:
            self.boxes.append(self._box(told.nodes[number], widest.get(number, 0)))
        inside = _modules(told.nodes, kept)
        self.homes = [inside[number] for number in kept]
        used = {argument.node for number in kept for argument in told.nodes[number].arguments}
        for number in kept:
            self._arguments(told.nodes[number])
        if not is_whole:
            self._rest(kept, used)
        self._stand_ins()

    def _box(self, node: GraphNode, widest: int) -> dict[str, Any]:
        title = node.name
        if node.operation:
            title = f"{node.name} = {node.operation}"
        return {
            "kind": "end" if node.number in self.told.data.ends else "operation" if node.operation else "leaf",
            "lines": [_clamped(title), *_described(node.value)],
            "room": widest,  # for the gradient
            "name": node.name,
            "operation": node.operation,
            "text": self._heading(node),
            "place": _place(node.place),
            "module": ", ".join(f"{path or kind} ({kind})" for path, kind in node.modules[-1:]),
            "value": _value(node.value),
            "gradient": None if node.gradient is None else _value(node.gradient),
            "given": [
                {
                    "text": argument.text,
                    "node": self._box_of(argument),
                    "value": _value(argument.value),
                }
                for argument in node.arguments
                if argument.value is not None
            ],
        }

    def _box_of(self, argument: Argument) -> int | None:
        """The box that an argument comes from; None for constants and for what is left out."""
        return None if argument.node is None else self.numbers.get(argument.node)

    def _heading(self, node: GraphNode) -> str:
        if not node.operation:
            return f"{node.name}: a leaf"
        return f"{node.name} = {node.operation}({', '.join(argument.text for argument in node.arguments)})"

    def _arguments(self, node: GraphNode) -> None:
        """The arrows into a box, and the constants among what it was given."""
        here = self.numbers[node.number]
        for argument in node.arguments:
            start = self._box_of(argument)
            if start is None:
                if argument.node is not None or argument.value is None:
                    continue
                start = len(self.boxes)
                described = _described(argument.value)
                shown = [argument.text] if argument.value.text != argument.text else []
                lines = [_clamped(text) for text in [*shown, *described]]
                if argument.text.startswith("a constant "):
                    lines = described
                text = "a constant" if lines is described else argument.text
                self.boxes.append({"kind": "constant", "lines": lines, "text": text, "value": _value(argument.value)})
                self.homes.append(self.homes[here])
            self.edges[node.number, argument.position] = len(self.pairs)
            self.pairs.append((start, here))

    def _rest(self, kept: Iterable[int], used: set[int | None]) -> None:
        told = self.told
        number = len(self.boxes)
        lines = [f"{len(told.nodes) - len(self.numbers)} nodes more"]
        lines += [f"{name} × {count}" for name, count in list(told.data.operations.items())[:6]]
        self.boxes.append({"kind": "rest", "lines": lines, "text": "all the rest"})
        self.homes.append(())
        for i in kept:
            node = told.nodes[i]
            if node.operation and not node.arguments:
                self.pairs.append((number, self.numbers[i]))
            elif i not in used and i not in told.data.ends:
                self.pairs.append((self.numbers[i], number))

    def _stand_ins(self) -> None:
        """What arrows would come to from too far is shown once more beside their end."""
        known: dict[tuple[int, int], int] = {}
        for far in sorted(too_long(len(self.boxes), self.pairs)):
            start, end = self.pairs[far]
            if (start, end) not in known:
                known[start, end] = len(self.boxes)
                box = self.boxes[start]
                text = box.get("name") or box["lines"][0]
                self.boxes.append({"kind": "again", "lines": [_clamped(text)], "of": start, "text": f"{text}, again"})
                self.homes.append(self.homes[end])
            self.pairs[far] = known[start, end], end

    def _long(self) -> set[int]:
        """The arrows into a module whose first operation has leaves or constants.

        These stand in the row above it, and would stand beside the module before: modules would form a staircase.
        """
        first = {end for start, end in self.pairs if self.boxes[start]["kind"] in ("leaf", "constant", "again")}
        return {
            i
            for i, (start, end) in enumerate(self.pairs)
            if end in first
            and self.boxes[start]["kind"] in ("operation", "rest")
            and self.homes[start] != self.homes[end]
        }

    def data(self) -> dict[str, Any]:
        """Boxes, arrows and frames with their places."""
        sizes = []
        for box in self.boxes:
            gradient = box.pop("room", 0)
            widest = max([len(text) for text in box["lines"]] + [gradient + 2 if gradient else 0])
            lines = len(box["lines"]) + bool(gradient)
            sizes.append((max(round(widest * CHARACTER + PADDING), 36.0), lines * LINE + 10.0))
        placed = place(sizes, self.pairs, _frames(self.homes), self._long())
        for box, (x, y), (width, height) in zip(self.boxes, placed.centres, sizes, strict=True):
            box["at"] = [x, y, width, height]
        return {
            "size": [placed.width, placed.height],
            "boxes": [{k: v for k, v in box.items() if v not in (None, [], "")} for box in self.boxes],
            "edges": [[*pair, curve] for pair, curve in zip(self.pairs, placed.curves, strict=True)],
            "frames": [[frame.label, frame.x, frame.y, frame.width, frame.height] for frame in placed.frames],
        }


# ----- what is kept and where it is -------------------------------------------------------------------------------


def _near(told: Explanation, steps: list[Step]) -> set[int]:
    """The nodes that some steps are about."""
    kept = set(told.data.ends)
    for step in steps:
        kept |= {step.node, step.target}
        kept |= {argument.node for argument in told.nodes[step.node].arguments if argument.node is not None}
    return kept


def _modules(nodes: list[GraphNode], kept: Iterable[int]) -> dict[int, tuple[tuple[str, str], ...]]:
    """The modules of each node: as recorded, else those that all its users share, as those of a leaf."""
    inside: dict[int, tuple[tuple[str, str], ...]] = {}
    shared: dict[int, tuple[tuple[str, str], ...]] = {}
    for number in sorted(kept, reverse=True):
        node = nodes[number]
        path = inside[number] = node.modules if node.modules or node.place else shared.get(number, ())
        for argument in node.arguments:
            if argument.node is not None:
                known = shared.get(argument.node, path)
                length = 0
                while length < min(len(path), len(known)) and path[length] == known[length]:
                    length += 1
                shared[argument.node] = known[:length]
    return inside


def _frames(homes: list[tuple[tuple[str, str], ...]]) -> Frame:
    """The frames of modules around boxes."""
    whole = Frame("")
    known: dict[tuple[tuple[str, str], ...], Frame] = {(): whole}
    for number, path in enumerate(homes):
        for length in range(1, len(path) + 1):
            if path[:length] not in known:
                text, kind = path[length - 1]
                frame = known[path[:length]] = Frame(_clamped(f"{text} ({kind})" if text else kind))
                known[path[: length - 1]].frames.append(frame)
        known[path].boxes.append(number)
    return whole


# ----- packing ----------------------------------------------------------------------------------------------------


def packed(thing: Any) -> dict[str, Any]:
    """Plain values with what occurs more than once written once: in a pool, with {"$": n} in its places.

    >>> packed([["a", "b"], ["a", "b"]])
    {'pool': [['a', 'b']], 'page': [{'$': 0}, {'$': 0}]}
    """
    numbers: dict[Any, int] = {}  # what a thing is made of -> its number
    made_of: list[Any] = []
    uses: list[int] = []

    def number_of(thing: Any) -> int:
        if isinstance(thing, dict):
            key: Any = ("dict", *((name, number_of(value)) for name, value in thing.items()))
            parts = [number for _, number in key[1:]]
        elif isinstance(thing, (list, tuple)):
            parts = [number_of(value) for value in thing]
            key = ("list", *parts)
        else:
            key, parts = (type(thing), thing), []
        known = numbers.get(key)
        if known is None:
            known = numbers[key] = len(made_of)
            made_of.append(key)
            uses.append(0)
            for part in parts:
                uses[part] += 1
        return known

    pool: list[Any] = []
    places: dict[int, int] = {}

    def written(number: int) -> Any:
        if number in places:
            return {"$": places[number]}
        kind, *parts = made_of[number]
        if kind == "dict":
            found: Any = {name: written(part) for name, part in parts}
        elif kind == "list":
            found = [written(part) for part in parts]
        else:
            found = parts[0]
        is_long = len(parts) > 1 or (kind is str and len(found) > 12)
        if uses[number] > 1 and is_long:
            places[number] = len(pool)
            pool.append(found)
            return {"$": places[number]}
        return found

    root = number_of(thing)
    page = written(root)
    return {"pool": pool, "page": page}


# ----- small pieces -----------------------------------------------------------------------------------------------


def _name(text: str) -> Any:
    """A name as it is set in formulas; `∇_a L` is the gradient of `a`."""
    if text.startswith("∇_") and text.endswith(" L"):
        return typeset(rf"\nabla_{{{latex_name(text[2:-2])}}} L")
    return typeset(latex_name(text))


def _value(value: Value | None) -> dict[str, Any]:
    """A value: its text, its kind where that is not plain, and its rows where it is a small vector or matrix."""
    if value is None:
        return {}
    found: dict[str, Any] = {"text": value.text}
    if value.shape or value.numbers is None:
        found["kind"] = value.kind
    if value.numbers is not None and 1 <= len(value.shape) <= 2 and value.size:
        rows = [value.numbers] if len(value.shape) == 1 else value.numbers
        found["rows"] = [[number_text(number) for number in row] for row in rows]
    return found


def short(value: Value) -> str:
    """A value in a few characters.

    >>> short(Value((), "float32", 0.1)), short(Value((64, 2), "float32", None, -1.5, 2.25, 0.1))
    ('0.1', '-1.5 … 2.2')
    """
    if value.size and value.nans:
        return "NaN" if value.nans == value.size else f"{value.nans} × NaN"
    if value.numbers is not None:
        text = value.text
        if len(text) <= FITS:
            return text
        numbers = _flat(value.numbers)
        if any(isinstance(number, complex) for number in numbers):
            return text[: FITS - 1] + "…"
        return _range(min(numbers), max(numbers))
    if value.low is not None and value.high is not None:
        return _range(value.low, value.high) + (" ∞" if value.infinities else "")
    return value.text if len(value.text) <= FITS else ""


def _range(low: Any, high: Any) -> str:
    if low == high:
        return f"all {number_text(low)}"
    return " … ".join(f"{number:.2g}" if isinstance(number, float) else number_text(number) for number in (low, high))


def _flat(numbers: Any) -> list[Any]:
    return [n for item in numbers for n in _flat(item)] if isinstance(numbers, list) else [numbers]


def _described(value: Value) -> list[str]:
    """What a box says of a value: a number alone, else the shape and what is in it."""
    text = short(value)
    if not value.shape and text:
        return [text]
    size = "(" + ", ".join(map(str, value.shape)) + ("," if len(value.shape) == 1 else "") + ")"
    shape = f"{size} {value.dtype}"
    if value.numbers is not None and value.size and text == value.text:
        return [text]
    return [shape, text] if text else [shape]


def _clamped(text: str) -> str:
    text = " ".join(text.split()) or "?"
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _place(text: str) -> list[str]:
    """The user's line: the file without its folders, as pages are given to others, and the text."""
    found = PLACE.fullmatch(text)
    if found is None:
        return []
    return [re.split(r"[\\/]", found["where"])[-1], found["text"] or ""]
