"""`explain(loss)`: the backward pass told step by step, as text, Markdown, LaTeX and in notebooks."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.tensor import Tensor
from .formula import latex_name, plain, plain_note
from .mathml import mathml, typeset
from .names import Names
from .steps import Argument, GraphNode, Pass, Step, backward_pass
from .values import Value, number_text

if TYPE_CHECKING:
    from .page import Inline

__all__ = ["Explanation", "explain"]

ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
CARDINALS = "one two three four five six seven eight nine ten".split()
ALL = 400  # steps: longer passes are shown by their beginning and end
NO_FORMULA = "by a backward function of its own, for which the table states no formula"
ENDS = 20  # steps at either end of a longer pass


def explain(
    loss: Tensor, gradient: Any = None, names: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]] = ()
) -> Explanation:
    """The backward pass of a tensor, told. Its graph stays as it is, and no `.grad` changes; hooks are called.

    Args:
        loss: where the pass starts.
        gradient: the seed, of the tensor's shape; ones if left out.
        names: name -> tensor, in addition to the caller's variables and to `chainrule.name`.

    Raises:
        TypeError: not a tensor.
        RuntimeError: the tensor has no graph, or a backward pass without `retain_graph=True` has freed it.

    >>> import chainrule as cr
    >>> a, b = cr.tensor(2.0, requires_grad=True), cr.tensor(3.0, requires_grad=True)
    >>> loss = (a * b).log()
    >>> print(cr.explain(loss))
    Backward pass of `loss`: 2 operations, 3 steps
    <BLANKLINE>
    start  ∇_loss L = 1
    <BLANKLINE>
    1  loss = log(v1)
       ∇_v1 L = ∇_loss L / v1
              = 1 / 6
              = 0.16667
    <BLANKLINE>
    2  v1 = multiply(a, b)
       ∇_a L = b ∇_v1 L
             = 3 · 0.16667
             = 0.5
    <BLANKLINE>
    3  v1 = multiply(a, b)
       ∇_b L = a ∇_v1 L
             = 2 · 0.16667
             = 0.33333
    <BLANKLINE>
    Gradients of the leaves
       ∇_a L = 0.5
       ∇_b L = 0.33333
    <BLANKLINE>
    The lines of your program are shown for what is computed inside `with chainrule.explain.recording():`
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"explain takes a Tensor, got {type(loss).__name__}")
    if loss.node() is None:
        raise RuntimeError(
            "this tensor does not require grad, so there is no backward pass to explain; chainrule.why(tensor) says why"
        )
    data = backward_pass(loss, gradient, Names(names))
    data.keys.clear()  # an explanation that is kept does not keep the graph's arrays
    return Explanation(data)


@dataclass(slots=True)
class Told:
    """A step in pieces that every format arranges in its own way."""

    step: Step
    heading: str
    place: str
    module: str
    used: list[tuple[str, Value]]
    result: Value
    said: list[str]


class Explanation:
    """A backward pass as numbered steps.

    Attributes:
        steps: the steps, in the order in which they ran.
        nodes: the nodes of the graph, in forward order.
        data: all of it as plain values, for whoever wants to show it in another way.
        of: the expression that was typed, if there was one.
    """

    def __init__(self, data: Pass, hint: bool = True, of: str = "") -> None:
        self.data = data
        self.of = of
        self._wants_hint = hint
        self.steps = data.steps
        self.nodes = data.nodes

    # ----- pieces -------------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is explained and how long it is."""
        ends = ", ".join(f"`{self.nodes[i].name}`" for i in self.data.ends)
        operations = sum(self.data.operations.values())
        return f"Backward pass of {ends}: {_count(operations, 'operation')}, {_count(len(self.steps), 'step')}"

    @property
    def summary(self) -> str:
        """For long passes, how often each operation occurs; "" for others."""
        if len(self.steps) <= ALL:
            return ""
        most = list(self.data.operations.items())
        text = ", ".join(f"{name} {count}" for name, count in most[:8])
        rest = sum(count for _, count in most[8:])
        return text + (f", others {rest}" if rest else "")

    def _shown(self) -> Iterator[Told | int]:
        """The steps to be shown; a number stands for as many that are left out."""
        steps = self.steps
        if len(steps) > ALL:
            yield from map(self.tell, steps[:ENDS])
            yield len(steps) - 2 * ENDS
            steps = steps[-ENDS:]
        yield from map(self.tell, steps)

    def tell(self, step: Step) -> Told:
        """A step in pieces."""
        node = self.nodes[step.node]
        arguments = ", ".join(argument.text for argument in node.arguments)
        inside = [f"{path or kind} ({kind})" for path, kind in node.modules[-1:]]
        used: list[tuple[str, Value]] = []
        if not step.numbers:
            if step.given.dtype != "Several":
                used.append((f"∇_{node.name} L", step.given))
            for position in step.uses:
                name, value = (node.name, node.value) if position < 0 else _shown_argument(node.arguments[position])
                if value is not None and name not in dict(used):
                    used.append((name, value))
        heading = f"{node.name} = {node.operation}({arguments})"
        hooked = "a hook replaced the gradient that had arrived" if step.hooked else ""
        said = [words for words in (step.summed, self._joined(step), hooked) if words]
        return Told(step, heading, node.place, ", ".join(inside), used, step.contribution, said)

    def _joined(self, step: Step) -> str:
        """Accumulation, in words."""
        if step.paths == 1:
            return ""
        name = self.nodes[step.target].name
        which = f"the {_word(ORDINALS, step.path, 'th')} of {_word(CARDINALS, step.paths)} paths into `{name}`"
        if step.before is None:
            return which
        parts = (step.before, step.contribution, step.after)
        if all(part.numbers is not None for part in parts):
            texts = [f"({part})" if "j" in str(part) and not part.shape else str(part) for part in parts]
            return f"{which}: {texts[0]} + {texts[1]} = {parts[2]}"
        return f"{which}: added to what is there, the sum is now {parts[2]}"

    def _target(self, told: Told) -> str:
        """In LaTeX, what a step contributes to."""
        return rf"\nabla_{{{latex_name(self.nodes[told.step.target].name)}}} L"

    def _leaves(self) -> list[GraphNode]:
        return [node for node in self.nodes if not node.operation and node.gradient is not None]

    @property
    def about_complex(self) -> str:
        """For passes with complex gradients, what the steps show; "" for others."""
        if not any(step.contribution.dtype.startswith("complex") for step in self.steps):
            return ""
        return "Complex gradients travel conjugated from step to step; those of the leaves are as .grad has them."

    @property
    def hint(self) -> str:
        """How more could be told; "" where it is."""
        if not self._wants_hint or any(node.place for node in self.nodes) or not self.data.operations:
            return ""
        return "The lines of your program are shown for what is computed inside `with chainrule.explain.recording():`"

    # ----- text ---------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """For a terminal."""
        lines = [self.title]
        lines += [about for about in (self.summary, self.about_complex) if about]
        lines.append("")
        for end, seed in zip(self.data.ends, self.data.seeds, strict=True):
            lines.append(f"start  ∇_{self.nodes[end].name} L = {_with_kind(seed)}")
        width = len(str(len(self.steps)))
        for told in self._shown():
            lines.append("")
            if isinstance(told, int):
                lines.append(f"... {told} steps ...")
                continue
            pad = " " * (width + 2)
            lines.append(f"{told.step.number:>{width}}  {told.heading}")
            for about in (told.place and f"at {told.place}", told.module and f"in {told.module}"):
                if about:
                    lines.append(pad + about)
            left, _, right = plain(told.step.formula).partition(" = ")
            if right:
                lines.append(
                    f"{pad}{left} = {right}" + (f"   ({plain_note(told.step.note)})" if told.step.note else "")
                )
            else:
                left = f"∇_{self.nodes[told.step.target].name} L"
                lines.append(f"{pad}{left}: {NO_FORMULA}")
            equals = pad + " " * len(left) + " = "
            if told.step.numbers and plain(told.step.numbers) != told.result.text:
                lines.append(equals + plain(told.step.numbers))
            lines.append(equals + _with_kind(told.result))
            lines += [f"{pad}where {name} = {_with_kind(value)}" for name, value in told.used]
            lines += [pad + words for words in told.said]
        if self._leaves():
            lines += ["", "Gradients of the leaves"]
            lines += [f"   ∇_{leaf.name} L = {_with_kind(leaf.gradient)}" for leaf in self._leaves()]
        if self.hint:
            lines += ["", self.hint]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    # ----- Markdown -----------------------------------------------------------------------------------------------

    def markdown(self) -> str:
        """Markdown with formulas between dollar signs."""
        lines = [f"### {_safe(self.title)}", ""]
        for words in (self.summary, self.about_complex):
            lines += [words, ""] if words else []
        for end, seed in zip(self.data.ends, self.data.seeds, strict=True):
            lines += [f"Start: $\\nabla_{{{latex_name(self.nodes[end].name)}}} L$ = {_with_kind(seed)}", ""]
        for told in self._shown():
            if isinstance(told, int):
                lines += [f"... {told} steps ...", ""]
                continue
            lines += [f"**Step {told.step.number}**: {_code(told.heading)}", ""]
            about = [_code(told.place)] if told.place else []
            about += [f"in {_code(told.module)}"] if told.module else []
            if about:
                lines += [", ".join(about), ""]
            if told.step.formula:
                numbers = f" = {told.step.numbers}" if told.step.numbers else ""
                lines += [f"$${told.step.formula}{numbers}$$", ""]
            else:
                lines += [f"${self._target(told)}$: {NO_FORMULA}", ""]
            if told.step.note:
                lines += [f"({_safe(told.step.note)})", ""]
            lines.append(f"- result: {_with_kind(told.result)}")
            lines += [f"- where {_code(name)} = {_with_kind(value)}" for name, value in told.used]
            lines += [f"- {_safe(words)}" for words in told.said]
            lines.append("")
        if self._leaves():
            lines += ["**Gradients of the leaves**", ""]
            for leaf in self._leaves():
                lines.append(f"- $\\nabla_{{{latex_name(leaf.name)}}} L$ = {_with_kind(leaf.gradient)}")
        return "\n".join(lines).rstrip() + "\n"

    def _repr_markdown_(self) -> str:
        return self.markdown()

    # ----- LaTeX --------------------------------------------------------------------------------------------------

    def latex(self) -> str:
        """A whole document: the derivation."""
        lines = [
            r"\documentclass{article}",
            r"\usepackage{amsmath,amssymb}",
            r"\setcounter{MaxMatrixCols}{20}",
            r"\begin{document}",
            rf"\section*{{{latex_text(self.title)}}}",
        ]
        lines += [latex_text(about) + r"\par" for about in (self.summary, self.about_complex) if about]
        for end, seed in zip(self.data.ends, self.data.seeds, strict=True):
            lines.append(rf"\[ \nabla_{{{latex_name(self.nodes[end].name)}}} L = {latex_value(seed)} \]")
        for told in self._shown():
            if isinstance(told, int):
                lines.append(rf"\paragraph{{\dots\ {told} steps \dots}}")
                continue
            lines.append(rf"\paragraph{{Step {told.step.number}.}} \texttt{{{latex_text(told.heading)}}}")
            about = ", ".join(part for part in (told.place, told.module) if part)
            if about:
                lines.append(rf"\\ {{\footnotesize\texttt{{{latex_text(about)}}}}}")
            if told.step.formula:
                middle = f" = {told.step.numbers}" if told.step.numbers else ""
                lines.append(rf"\[ {told.step.formula}{middle} \]")
            else:
                lines.append(rf"\par ${self._target(told)}$: {NO_FORMULA}")
            if told.step.note:
                parts = told.step.note.split("$")
                note = [f"${part}$" if i % 2 else latex_text(part) for i, part in enumerate(parts)]
                lines.append(f"({''.join(note)})")
            lines.append(rf"\[ = {latex_value(told.result)} \]")
            for name, value in told.used:
                shown = rf"\nabla_{{{latex_name(name[2:-2])}}} L" if name.startswith("∇_") else latex_name(name)
                lines.append(rf"\[ {shown} = {latex_value(value)} \]")
            lines += [latex_text(words) + r"\par" for words in told.said]
        if self._leaves():
            lines.append(r"\paragraph{Gradients of the leaves.}")
        for leaf in self._leaves():
            assert leaf.gradient is not None
            lines.append(rf"\[ \nabla_{{{latex_name(leaf.name)}}} L = {latex_value(leaf.gradient)} \]")
        return "\n".join([*lines, r"\end{document}", ""])

    # ----- notebooks ----------------------------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        escape = html.escape
        parts = [f"<p><b>{escape(self.title)}</b></p>"]
        parts += [f"<p>{escape(about)}</p>" for about in (self.summary, self.about_complex) if about]
        parts.append(
            '<table><thead><tr><th>step</th><th>operation</th><th style="text-align:left">gradient</th></tr></thead>'
        )
        for told in self._shown():
            if isinstance(told, int):
                parts.append(f'<tr><td colspan="3">&hellip; {told} steps &hellip;</td></tr>')
                continue
            operation = [f"<code>{escape(told.heading)}</code>"]
            operation += [f"<small>{escape(about)}</small>" for about in (told.place, told.module) if about]
            rows = [formula and mathml(typeset(formula)) for formula in (told.step.formula, told.step.numbers)]
            rows[0] = rows[0] or f"{mathml(typeset(self._target(told)))}: {NO_FORMULA}"
            rows[1] = rows[1] and f"= {rows[1]}"
            rows.append(f"= {escape(_with_kind(told.result))}")
            rows += [f"where {escape(name)} = {escape(_with_kind(value))}" for name, value in told.used]
            rows += [escape(words) for words in (plain_note(told.step.note), *told.said)]
            parts.append(
                f"<tr><td>{told.step.number}</td><td>{'<br>'.join(operation)}</td>"
                f'<td style="text-align:left">{"<br>".join(row for row in rows if row)}</td></tr>'
            )
        return "".join([*parts, "</table>"])

    def html(self) -> str:
        """A page to step through the pass, the graph beside it: one file that opens offline.

        Raises:
            ImportError: there is no Graphviz, which lays out the graph; names the extra that brings it.
        """
        from .page import page

        return page(self)

    def inline(self, height: int = 520) -> Inline:
        """The page in a frame of that height, for a notebook's cell; see `html`.

        Raises:
            ImportError: as `html`.
        """
        from .page import Inline

        return Inline(self, height)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the explanation to a file: `.txt`, `.md`, `.tex` or `.html`; see `html`.

        Raises:
            ValueError: another ending.
        """
        ending = os.path.splitext(os.fspath(path))[1].lower()
        formats = {".txt": self.text, ".md": self.markdown, ".tex": self.latex, ".html": self.html}
        if ending not in formats:
            raise ValueError(
                f"an explanation is saved as {', '.join(formats)}, not as {ending or 'a file without ending'!r}"
            )
        text = formats[ending]()
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)


# ----- small pieces of text ---------------------------------------------------------------------------------------


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _word(words: list[str], number: int, ending: str = "") -> str:
    return words[number - 1] if number <= len(words) else f"{number}{ending}"


def _shown_argument(argument: Argument) -> tuple[str, Value | None]:
    """An argument's name and value; without the value for constants that stand in the formula themselves."""
    value = argument.value
    return argument.text, None if value is None or value.text == argument.text else value


def _with_kind(value: Value | None) -> str:
    """A value with its shape and type, except for single numbers."""
    if value is None:
        return "nothing"
    return value.text if not value.shape and value.numbers is not None else f"{value.text}   {value.kind}"


def _safe(text: str) -> str:
    """Text in Markdown: no tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _code(text: str) -> str:
    """Text as code in Markdown, whatever is in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("\n", " ")


TEXT_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "$": r"\$", "%": r"\%", "&": r"\&", "#": r"\#",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "`": r"\textquoteleft{}", "|": r"\textbar{}", "∇": r"$\nabla$", "\n": " ",
}  # fmt: skip


def latex_text(text: str) -> str:
    r"""Text outside formulas in LaTeX; what stands in backquotes becomes code.

    >>> print(latex_text("a_1 & `b`"))
    a\_1 \& \texttt{b}
    """
    parts = text.split("`")
    if len(parts) % 2 and len(parts) > 1:
        return "".join(rf"\texttt{{{latex_text(part)}}}" if i % 2 else latex_text(part) for i, part in enumerate(parts))
    return "".join(TEXT_ESCAPES.get(c, c if c.isascii() else "?") for c in text)


def latex_value(value: Value) -> str:
    """A value in a formula: a number, a matrix, or its summary."""
    numbers = value.numbers
    if numbers is None or len(value.shape) > 2:
        return rf"\text{{{latex_text(f'{value.text}, {value.kind}')}}}"
    if not value.shape:
        return _latex_number(numbers)
    rows = [numbers] if len(value.shape) == 1 else numbers
    inside = r" \\ ".join(" & ".join(_latex_number(number) for number in row) for row in rows)
    return rf"\begin{{bmatrix}} {inside} \end{{bmatrix}}"


def _latex_number(number: Any) -> str:
    text = number_text(number)
    power = re.fullmatch(r"(.*)e([+-]\d+)", text)
    if power:
        return rf"{power[1]} \cdot 10^{{{int(power[2])}}}"
    return text.replace("nan", r"\mathrm{NaN}").replace("inf", r"\infty").replace("True", r"\mathrm{True}").replace(
        "False", r"\mathrm{False}"
    )  # fmt: skip
