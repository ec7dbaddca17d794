"""`why(tensor)`: why a gradient is None, zero or not finite, or why a tensor has no graph.

It asks in this order: what the tensor itself shows, what its graph (or the loss's) shows, what the last recording saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..core.backprop import edges_of
from ..core.recipe import Leaf, Recipe
from ..core.sort import topological_sort
from ..core.tensor import Tensor
from ..nn.parameter import Parameter
from .formula import plain
from .names import Names
from .record import Origin, Recording, latest, place_of
from .steps import GraphNode, Observer, Pass, Step, backward_pass, operation_name
from .values import Value, value_of

__all__ = ["Answer", "why"]

RECORD = "run it again inside `with chainrule.explain.recording():`"
KINDS = {"numpy": "a NumPy array", "item": "a Python number"}
ROUNDING = frozenset("floor ceil trunc rint round sign floor_divide trunc_divide heaviside copysign".split())
SATURATING = frozenset("sigmoid tanh softmax log_softmax logsigmoid erf hardsigmoid hardtanh softsign softplus".split())
RECTIFYING = frozenset("relu threshold hardswish hardshrink softshrink elu gelu silu mish leaky_relu".split())
MASKING = frozenset("multiply keep_where where addcmul".split())
LIMITING = frozenset("clip maximum minimum fmax fmin".split())


@dataclass(frozen=True, repr=False)
class Answer:
    """Why something is as it is.

    Attributes:
        cause: in one or two words, such as "detach", "not reached", "dead relu"; "" where nothing is wrong.
        text: in whole sentences.
        place: the user's line as text; "" where it is not known.
    """

    cause: str
    text: str
    place: str = ""

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def why(tensor: Tensor, loss: Tensor | None = None) -> Answer:
    """Why is this tensor's `.grad` None, zero or NaN, why has it no graph, or why are its values not finite?

    Args:
        tensor: the tensor in question.
        loss: what `backward` was or will be called on. With its graph (`backward(retain_graph=True)`), gradients
            are followed through it; without, the last `chainrule.explain.recording()` is asked.

    Raises:
        TypeError: not a tensor.

    >>> import chainrule as cr
    >>> w = cr.tensor([1.0, 2.0], requires_grad=True)
    >>> loss = (w - 3).relu().sum()
    >>> loss.backward(retain_graph=True)
    >>> cr.why(w, loss)
    The gradient of `w` is 0 because of relu: its result is 0 everywhere (a dead ReLU), its argument `v1` is [-2, -1].
    >>> cr.why(cr.tensor([1, 2]))
    This tensor has no graph: it is of type int64, and only floating and complex numbers have gradients.
    """
    for given in (tensor, loss):
        if given is not None and not isinstance(given, Tensor):
            raise TypeError(f"why takes Tensors, got {type(given).__name__}")
    found = _Question(tensor, loss, Names(), latest()).answer()
    return replace(found, text=found.text[:1].upper() + found.text[1:])


class _Question:
    """One question, and all that can be asked to answer it."""

    def __init__(self, tensor: Tensor, loss: Tensor | None, names: Names, seen: Recording | None) -> None:
        self.tensor, self.loss, self.names, self.seen = tensor, loss, names, seen
        name = names.of_tensor(tensor)
        self.called = f"`{name}`" if name else "this tensor"

    def answer(self) -> Answer:
        node = self.tensor.node()
        if self.tensor.grad is not None:
            return self.about_gradient(value_of(self.tensor.grad))
        if node is None:
            return self.no_graph(self.tensor, self.called)
        if isinstance(node, Recipe):
            return self.about_result(node)
        return self.no_gradient(node)

    # ----- no graph -----------------------------------------------------------------------------------------------

    def no_graph(self, tensor: Tensor, called: str) -> Answer:
        """Why a tensor does not require grad."""
        origin = None if self.seen is None else self.seen.origin_of(tensor)
        cuts = [] if origin is None or self.seen is None else self.seen.cuts_below(origin)
        if cuts:
            cause, text, place = self.cut_words(cuts[0])
            more = f" (and {len(cuts) - 1} more on other ways)" if len(cuts) > 1 else ""
            return Answer(cause, f"{called} has no graph: {text}{more}.", place)
        if tensor.array.dtype.kind not in "fc":
            place = "" if origin is None or origin.place is None else str(origin.place)
            return Answer(
                "integer",
                f"{called} has no graph: it is of type {tensor.array.dtype}, and only floating and complex numbers "
                "have gradients.",
                place,
            )
        if origin is not None and origin.operation:
            roots = sorted({f"`{name}`" for name in map(self.origin_name, _roots(origin)) if name})
            which = f" ({', '.join(roots)})" if roots else ""
            made = f" It was made by {origin.operation} at {origin.place}." if origin.place else ""
            return Answer(
                "no requires_grad",
                f"{called} has no graph: nothing that it was computed from{which} requires grad.{made} Make the leaf "
                "with requires_grad=True.",
                "" if origin.place is None else str(origin.place),
            )
        if isinstance(tensor, Parameter):
            return Answer("frozen", f"{called} has no graph: it is a parameter whose requires_grad was set to False.")
        return Answer(
            "no requires_grad",
            f"{called} has no graph: it was made without requires_grad=True, or computed where the graph was cut "
            f"(detach, .item(), .numpy(), no_grad). To see which, {RECORD}.",
        )

    def origin_name(self, origin: Origin) -> str:
        tensor = None if origin.tensor is None else origin.tensor()
        return (None if tensor is None else self.names.of_tensor(tensor)) or ""

    def cut_words(self, origin: Origin) -> tuple[str, str, str]:
        """Cause, words and place of a cut."""
        before = next((parent for parent in origin.parents if parent.tracked), origin)
        given = self.origin_name(before)
        text = (
            f"`{given}`" if given else f"the result of {before.operation}" if before.operation else "what it came from"
        )
        at = f" at {origin.place}" if origin.place else ""
        place = str(origin.place or "")
        export = origin.export
        if export is not None:
            came = "a new tensor was made of it" if origin.certain else "a new tensor was made, perhaps of it,"
            left = f" at {export.place}" if export.place else ""
            kind = KINDS.get(export.how, "a list")
            name = self.origin_name(export.origin)
            roots = sorted({f"`{root}`" for root in map(self.origin_name, _roots(export.origin)) if root})
            who = f"`{name}`" if name else "a value" + (f" computed from {', '.join(roots)}" if roots else "")
            cause = "numpy" if export.how == "numpy" else export.how
            return cause, f".{export.how}(){left} turned {who} into {kind}, and {came}{at}", str(export.place or "")
        words = {
            "detach": f"{text} was detached{at}",
            "detach_": f"{text} was detached in place{at}",
            "data": f".data of {text} was taken{at}",
            "copy": f"tensor(...) made a copy of {text}{at}; copies that keep the graph are made by clone()",
            "no_grad": f"{origin.operation}{at} was computed where recording was off (no_grad or inference_mode)",
            "comparison": f"{origin.operation}{at} is a comparison; its result ({origin.dtype}) has no derivative",
            "integer": f"the result of {origin.operation}{at} is of type {origin.dtype}; integers have no derivative",
            "no derivative": f"{origin.operation}{at} has no derivative",
            "write": f"{origin.operation}{at} wrote in place where recording was off, so the graph does not know of it",
        }
        return origin.cut, words[origin.cut], place

    # ----- no gradient --------------------------------------------------------------------------------------------

    def about_result(self, node: Recipe) -> Answer:
        """A result of operations without a `.grad`."""
        value = value_of(self.tensor)
        if not value.finite:
            return self.first_forward(node, value)
        if self.tensor.retains_grad:
            return Answer("no backward", f"{self.called} retains its gradient, but no backward() has reached it yet.")
        place = place_of(node)
        return Answer(
            "non-leaf",
            f"{self.called} is the result of {operation_name(node.func)}, no leaf: backward() fills the .grad of "
            f"leaves only. Call retain_grad() on it before backward().",
            "" if place is None else str(place),
        )

    def no_gradient(self, leaf: Leaf) -> Answer:
        """A leaf whose `.grad` is None."""
        loss = self.loss
        if loss is not None:
            end = loss.node()
            if end is None:
                name = self.names.of_tensor(loss)
                found = self.no_graph(loss, f"the loss {f'`{name}`' if name else ''}".strip())
                return Answer(
                    found.cause, f"{self.called} has no gradient. {found.text[:1].upper()}{found.text[1:]}", found.place
                )
            if not (isinstance(end, Recipe) and end.freed):
                if leaf in topological_sort(end, edges_of):
                    return Answer(
                        "no backward", f"{self.called} is reached by the loss, but backward() has not been called."
                    )
                return self.not_reached("the loss does not depend on it")
        if self.seen is not None and self.seen.passes:
            met = [(a_pass, a_pass.node_of(self.tensor)) for a_pass in self.seen.passes]
            reached = [a_pass for a_pass, node in met if node is not None and node.gradient is not None]
            if any(not a_pass.chosen for a_pass in reached):
                return Answer(
                    "reset", f"{self.called} was reached by a backward pass; its .grad was set to None since."
                )
            if reached:
                return Answer(
                    "autograd.grad",
                    f"{self.called} has no gradient: it was reached only where chosen gradients were asked for, as "
                    "autograd.grad does, which returns them and fills no .grad.",
                )
            return self.not_reached("no backward pass has reached it")
        if self.seen is not None and self.seen.cuts_above(self.tensor):
            return self.not_reached("no backward pass has reached it")
        if loss is not None:
            return Answer(
                "unknown",
                f"{self.called} has no gradient, and the graph of the loss was freed by backward(): write "
                f"backward(retain_graph=True) before asking, or {RECORD}.",
            )
        return Answer(
            "no backward",
            f"{self.called} has no gradient: no backward() was called on what was computed from it, or it was set to "
            "None since. To see whether a loss depends on it, ask why(tensor, loss); to see where a way is cut, "
            f"{RECORD}.",
        )

    def not_reached(self, what: str) -> Answer:
        cuts = [] if self.seen is None else self.seen.cuts_above(self.tensor)
        if cuts:
            cause, text, place = self.cut_words(cuts[0])
            return Answer(cause, f"{self.called} has no gradient: {what}. On the way from it, {text}.", place)
        left = None if self.seen is None else self.seen.export_above(self.tensor)
        if left is not None:
            at = f" at {left.place}" if left.place else ""
            kind = KINDS.get(left.how, "a list")
            return Answer(
                left.how,
                f"{self.called} has no gradient: {what}. On the way from it, .{left.how}(){at} took a value as {kind}; "
                "what is computed from that has no graph.",
                str(left.place or ""),
            )
        known = self.seen is not None and self.seen.origin_of(self.tensor) is not None
        hint = "" if known else f" To see where a way is cut, {RECORD}."
        return Answer("not reached", f"{self.called} has no gradient: {what}.{hint}")

    # ----- a gradient that is there -------------------------------------------------------------------------------

    def about_gradient(self, gradient: Value) -> Answer:
        """A `.grad` with NaN or infinities, or of zeros, or nothing wrong."""
        if gradient.finite and not gradient.all_zero:
            return Answer("", f"Nothing is wrong with the gradient of {self.called}: {gradient.text}.")
        what = "0" if gradient.finite else _kinds(gradient)
        if self.loss is not None and self.loss.node() is None:
            found = self.no_graph(self.loss, "the loss")
            return replace(found, text=f"The gradient of {self.called} is from an earlier pass: {found.text}")
        a_pass = self.pass_of()
        node = None if a_pass is None else a_pass.node_of(self.tensor)
        if a_pass is None or node is None:
            return Answer(
                "unknown",
                f"The gradient of {self.called} is {what}. To see why, call backward(retain_graph=True) and ask "
                f"why(tensor, loss), or {RECORD}.",
            )
        return self.zero(a_pass, node) if gradient.finite else self.not_finite(a_pass, node, what)

    def pass_of(self) -> Pass | None:
        """A backward pass that reached the tensor: the loss's, where its graph is there, else a recorded one."""
        if self.loss is not None and self.loss.node() is not None:
            end = self.loss.node()
            if not (isinstance(end, Recipe) and end.freed):
                return backward_pass(self.loss, names=self.names)
        found = None
        wrong = None if self.tensor.grad is None else value_of(self.tensor.grad)
        for a_pass in reversed(self.seen.passes if self.seen is not None else ()):
            node = a_pass.node_of(self.tensor)
            if node is None:
                continue
            found = found or a_pass
            if wrong is None or wrong.finite or (node.gradient is not None and not node.gradient.finite):
                return a_pass
        return found

    def zero(self, a_pass: Pass, node: GraphNode) -> Answer:
        start = f"The gradient of {self.called} is 0"
        if all(seed.all_zero for seed in a_pass.seeds):
            return Answer("zero seed", f"{start}: the pass was started with a gradient of 0.")
        for step in _steps_to(a_pass, node.number):
            if step.contribution.all_zero and not step.given.all_zero:
                here = a_pass.nodes[step.node]
                cause, words = _zero_words(a_pass, step)
                return Answer(cause, f"{start} because of {here.operation}{_at(here)}: {words}.", here.place)
        if node.gradient is not None and node.gradient.all_zero:
            return Answer("cancelled", f"{start}: what arrives on its paths adds up to 0.")
        return Answer("unknown", f"{start}, but not in this backward pass: it may have been zeroed since.")

    def not_finite(self, a_pass: Pass, node: GraphNode, what: str) -> Answer:
        start = f"The gradient of {self.called} has {what}"
        if not all(seed.finite for seed in a_pass.seeds):
            return Answer("seed", f"{start}: the pass was started with a gradient that is not finite.")
        for step in _steps_to(a_pass, node.number):
            if step.contribution.finite:
                continue
            here = a_pass.nodes[step.node]
            involved = [a.value for a in here.arguments if a.value is not None] + [here.value]
            if not all(value.finite for value in involved):
                first = _first_not_finite(a_pass, here)
                if first is not None:
                    cause = "forward" if first.operation else "leaf"
                    return Answer(
                        cause, f"{start}. It began in the forward pass: {_forward_words(a_pass, first)}.", first.place
                    )
            given = ", ".join(f"`{a.text}` is {a.value.text}" for a in here.arguments if a.value is not None)
            formula = f" by {plain(step.formula)}" if step.formula else ""
            return Answer(
                "backward",
                f"{start}. It began in the backward pass: the derivative of {here.operation}{_at(here)} is "
                f"{step.contribution.text}{formula}; there {given}.",
                here.place,
            )
        return Answer("unknown", f"{start}, but not in this backward pass: it is left from an earlier one.")

    def first_forward(self, end: Recipe, value: Value) -> Answer:
        """The first operation on the way to a result that is not finite."""
        start = f"{self.called[:1].upper()}{self.called[1:]} has {_kinds(value)}"
        if end.freed:
            a_pass = self.pass_of()
        else:  # the graph alone: nothing runs
            a_pass = Observer((self.tensor,), (self.tensor.array,), None, True, False).finish(self.names)
        met = None if a_pass is None else a_pass.node_of(self.tensor)
        first = None if a_pass is None or met is None else _first_not_finite(a_pass, met)
        if a_pass is not None and first is not None:
            cause = "forward" if first.operation else "leaf"
            return Answer(cause, f"{start}. It began here: {_forward_words(a_pass, first)}.", first.place)
        if end.freed:
            return Answer("unknown", f"{start}, and its graph was freed. To see where it began, ask before backward().")
        return Answer("unknown", f"{start}, but nothing on its way has.")


# ----- in a pass --------------------------------------------------------------------------------------------------


def _steps_to(a_pass: Pass, number: int) -> list[Step]:
    """The steps on ways to a node, in the order in which they ran."""
    relevant = {number}
    found = []
    for step in reversed(a_pass.steps):
        if step.target in relevant:
            relevant.add(step.node)
            found.append(step)
    return found[::-1]


def _first_not_finite(a_pass: Pass, end: GraphNode) -> GraphNode | None:
    """The first node in forward order, among those that lead to `end`, whose value is not finite."""
    leads = {end.number}
    for node in reversed(a_pass.nodes[: end.number + 1]):
        if node.number in leads:
            leads.update(argument.node for argument in node.arguments if argument.node is not None)
    meant: dict[int, GraphNode] = {}  # infinities that were written there on purpose, as masks do
    for node in a_pass.nodes:
        if node.number not in leads or node.value.finite:
            continue
        sources = [(a.node, a.value) for a in node.arguments if a.value is not None and not a.value.finite]
        if node.value.nans or not sources or any(v.nans or not (n is None or n in meant) for n, v in sources):
            return node
        meant[node.number] = node
    return next(iter(meant.values()), None)


def _forward_words(a_pass: Pass, node: GraphNode) -> str:
    if not node.operation:
        return f"the leaf `{node.name}` is {node.value.text} from the start"
    given = ", ".join(
        a.text if a.text == a.value.text else f"`{a.text}` = {a.value.text}"
        for a in node.arguments
        if a.value is not None
    )
    for argument in node.arguments:
        value = argument.value
        if argument.node is None and value is not None and not value.finite:
            who = "an argument" if argument.text == value.text else f"`{argument.text}`"
            return f"{who} that {node.operation}{_at(node)} was given is {value.text} from the start"
    return f"{node.operation}{_at(node)} made {node.value.text} of {given}"


def _zero_words(a_pass: Pass, step: Step) -> tuple[str, str]:
    """Cause and words for a step that made zeros of something else."""
    node = a_pass.nodes[step.node]
    operation = node.operation
    argument = node.arguments[step.position]
    own = f"its argument `{argument.text}` is {argument.value.text}" if argument.value is not None else ""
    if operation in RECTIFYING:
        if node.value.all_zero:
            return f"dead {operation}", f"its result is 0 everywhere (a dead ReLU), {own}"
        return f"dead {operation}", f"its derivative is 0 where a gradient arrives, {own}"
    if operation in ROUNDING:
        return "step function", f"it is constant between its steps, so its derivative is 0 everywhere; {own}"
    if operation in SATURATING:
        return f"saturated {operation}", f"it is saturated: its derivative is 0 in {node.value.dtype}, {own}"
    if operation in LIMITING:
        return "limit", f"its result does not depend on `{argument.text}` where a gradient arrives; {own}"
    zeros = [a for a in node.arguments if a.position != step.position and a.value is not None and a.value.all_zero]
    if operation in MASKING and zeros:
        return "mask", f"it multiplies by `{zeros[0].text}`, which is 0 everywhere"
    if operation in MASKING or operation == "where":
        return "mask", f"it keeps nothing of `{argument.text}` where a gradient arrives"
    if operation in ("write_region", "fill", "copy"):
        return "in-place write", "an in-place write replaced the values that a gradient arrives at"
    if zeros:
        return "zero factor", f"`{zeros[0].text}` is 0 everywhere"
    formula = f" ({plain(step.formula)})" if step.formula else ""
    if step.summed:
        return "cancelled", f"the terms of the sum over the broadcast axes cancel{formula}"
    return "zero derivative", f"its derivative{formula} gave 0, although {step.given.text} had arrived; {own}"


def _at(node: GraphNode) -> str:
    return f" at {node.place}" if node.place else ""


def _kinds(value: Value) -> str:
    parts = [f"{count} {what}" for count, what in ((value.nans, "NaN"), (value.infinities, "infinite")) if count]
    return " and ".join(parts) + f" of {value.size}"


def _roots(origin: Origin) -> list[Origin]:
    """The origins from which a value was computed and that were not computed themselves."""
    found, seen, queue = [], {origin}, [origin]
    while queue:
        here = queue.pop()
        if not here.parents and here is not origin:
            found.append(here)
        more = [parent for parent in here.parents if parent not in seen]
        seen.update(more)
        queue.extend(more)
    return found
