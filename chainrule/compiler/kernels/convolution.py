"""Convolutions and the maxima of windows as kernels, without columns in memory.

`Correlation` multiplies a padded sample with the weights: a tile of `height` outputs and `width` vectors of positions
is kept in registers while it goes over all channels and all places of the kernel, so that each number that is loaded is
used many times (Georganas et al. 2018, "Anatomy of high-performance deep learning convolutions on SIMD architectures").
Positions are counted through whole padded lines, one after another: those between the end of one line of the result and
the start of the next are computed and dropped. The gradient of the input is the same with the weights turned round.
`WeightGradient` keeps a tile of weights in registers while it goes over all positions of a sample.

With a stride, the padded sample is kept in phases: positions that lie a stride apart stand side by side.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..graph import Node
from ..passes.fusion import Kernel
from .generate import KernelText, parameter_type
from .registers import register_bytes, register_count

__all__ = ["Correlation", "MaxPool", "Settings", "SpreadMaxima", "WeightGradient"]

Sizes = tuple[int, ...]
AXES = "ijk"
LARGE = 10_000_000  # multiplications from which another thread pays


class Settings(NamedTuple):
    """A convolution of (N, channels, *spatial) with (outputs, channels / groups, *kernel) to (N, outputs, *size)."""

    samples: int
    channels: int
    outputs: int
    groups: int
    spatial: Sizes
    kernel: Sizes
    size: Sizes
    stride: Sizes
    padding: tuple[tuple[int, int], ...]
    dilation: Sizes
    dtype: np.dtype[Any]

    @property
    def lanes(self) -> int:
        """Numbers in a vector."""
        return register_bytes() // self.dtype.itemsize

    @property
    def number(self) -> str:
        """The type of an element as text."""
        return str(self.dtype.name)

    @property
    def taps(self) -> int:
        """Places of the kernel."""
        return math.prod(self.kernel)

    @property
    def inner(self) -> int:
        """The first of the axes whose lines follow each other: the last two."""
        return max(0, len(self.size) - 2)

    @property
    def phases(self) -> Sizes:
        """Into how many parts each axis of the padded sample is split."""
        return (*(1,) * self.inner, *self.stride[self.inner :])

    @property
    def padded(self) -> Sizes:
        """The sizes of one part."""
        whole = (n + a + b for n, (a, b) in zip(self.spatial, self.padding, strict=True))
        return tuple(-(-n // s) for n, s in zip(whole, self.phases, strict=True))

    @property
    def part(self) -> int:
        """Elements of one part of a channel."""
        return math.prod(self.padded)

    @property
    def volume(self) -> int:
        """Elements of a padded channel."""
        return self.part * math.prod(self.phases)

    @property
    def line(self) -> int:
        """Elements from one line of positions to the next."""
        return self.padded[-1]

    @property
    def positions(self) -> int:
        """From the first position to the last, of the last two axes."""
        if len(self.size) == 1:
            return self.size[0]
        return (self.size[-2] - 1) * self.line + self.size[-1]

    @property
    def planes(self) -> int:
        """How many such runs of positions there are."""
        return self.size[0] if self.inner else 1

    @property
    def work(self) -> int:
        """Multiplications."""
        return self.samples * self.outputs * math.prod(self.size) * self.channels // self.groups * self.taps

    @property
    def waste(self) -> float:
        """How many times the needed multiplications are done."""
        return self.planes * rounded(self.positions, self.lanes) / math.prod(self.size)

    def at(self, axis: int, text: str, step: int = 1) -> str:
        """Where the padded coordinate `text` lies along an axis."""
        spacing = math.prod(self.padded[axis + 1 :])
        phases, phase = self.phases[axis], self.part * math.prod(self.phases[axis + 1 :])
        if step != 1:
            text = times(text, step)
        if phases == 1:
            return times(text, spacing)
        text = f"({text})" if " " in text else text
        return f"{text} % {phases} * {phase} + {times(f'{text} // {phases}', spacing)}"

    def reach(self, width: int) -> int:
        """The elements of the padded sample, with what vectors of positions read beyond it."""
        place = sum(
            (d * (k - 1) // s + (n - 1 if axis < self.inner else 0)) * math.prod(self.padded[axis + 1 :])
            for axis, (d, k, s, n) in enumerate(zip(self.dilation, self.kernel, self.phases, self.size, strict=True))
        )
        return self.channels * self.volume + place + rounded(self.positions, width)


class Phased(NamedTuple):
    """What the gradient of a strided convolution for its input has besides `Settings`.

    Attributes:
        stride: of the convolution; the settings' `size` is that of one phase, and the others begin so far apart.
        before: how much padding the convolution had at the start of each axis.
        size: of the result.
    """

    stride: Sizes
    before: Sizes
    size: Sizes


SAMPLES = "for n in range(int64(first), int64(last)):"


def nested(letters: str, sizes: Sizes) -> str:
    """The number of a place in the nested loops of letters."""
    text = letters[0]
    for letter, size in zip(letters[1:], sizes[1:], strict=True):
        text = f"({text}) * {size} + {letter}" if " " in text else f"{text} * {size} + {letter}"
    return text


def rounded(number: int, step: int) -> int:
    """The next multiple of a step."""
    return -(-number // step) * step


def times(text: str, factor: int) -> str:
    """A product as text."""
    if factor == 1:
        return text
    return f"({text}) * {factor}" if " " in text and not text.isdigit() else f"{text} * {factor}"


def plus(*terms: str) -> str:
    """A sum as text, without zeros."""
    return " + ".join(term for term in terms if term not in ("", "0")) or "0"


class Text:
    """Lines of a function, indented by loops."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 1
        self.taken: list[str] = []

    def add(self, *lines: str) -> None:
        """Write lines."""
        self.lines += ["    " * self.depth + line for line in lines]

    def loop(self, *heads: str) -> None:
        """Begin loops; what follows stands in the innermost."""
        for head in heads:
            self.add(head)
            self.depth += 1

    def over(self, names: str, sizes: Iterable[int]) -> None:
        """Begin a loop for each letter."""
        self.loop(*(f"for {name} in range({size}):" for name, size in zip(names, sizes, strict=True)))

    def memory(self, name: str, size: int, number: str, zero: bool = True) -> None:
        """Take memory for the function's own use."""
        self.add(f"{name} = memory({', '.join([str(size), number, *self.taken])})")
        self.taken.append(name)
        if zero:
            self.add(f"for i in range({size}):", f"    {name}[i] = {number}(0)")

    def end(self, depth: int = 1) -> None:
        """Go back to a depth."""
        self.depth = depth


def tile(outputs: int, positions: int, lanes: int, one_more: bool) -> tuple[int, int]:
    """The (height, width) of a tile in registers that takes least time.

    Args:
        outputs: how many numbers multiply each vector.
        positions: how many vectors there are.
        one_more: whether the numbers are vectors as well, and each is loaded.
    """
    registers = register_count()
    best, least = (1, 1), math.inf
    for height in range(1, min(outputs, 12) + 1):
        for width in range(1, min(positions, 12) + 1):
            if height * width + min(height, width) + 1 > registers:
                continue
            # two products a cycle, or two loads, of which one that crosses a line of the cache counts twice
            loads = height + 2 * width
            cycles = max(height * width, loads, 8)
            time = -(-outputs // height) * -(-positions // width) * (cycles + (2 if one_more else 0))
            if time < least:
                best, least = (height, width), time
    return best


class LayerKernel(Kernel):
    """A kernel that is no loop over elements; see `passes.fusion.Kernel`.

    Attributes:
        work: about how many multiplications it takes, or what takes as long.
        any_count: whether the text is to be one for any number of samples, which are shared out to threads then.
    """

    work: int
    any_count = False

    @property
    def operations(self) -> int:
        """Floating-point operations: comparisons of a pooling, products and sums of a convolution."""
        return self.work

    def __init__(self, name: str, nodes: list[Node], inputs: list[Node], outputs: list[Node], position: int) -> None:
        self.loops = []
        self.inputs = inputs
        self.outputs = outputs
        self.positions = {position}
        self.members = nodes
        self.__name__ = name

    @property
    def nodes(self) -> list[Node]:
        """What it computes, in order."""
        return self.members

    def write(self, name: str) -> KernelText:
        """Its text."""
        raise NotImplementedError

    def text(self, name: str, names: list[str], body: Text, sums: list[tuple[int, str]], samples: int) -> KernelText:
        """The function around a body, which begins with what all samples share and goes on with a loop over them."""
        arrays = [*self.inputs, *self.outputs]
        written = [False] * len(self.inputs) + [True] * len(self.outputs)
        split = samples if self.any_count or (self.work >= LARGE and samples > 1) else 0
        parameters = ["first: uint64", "last: uint64"] if split else []
        if not split:
            body.lines = [line.replace(SAMPLES, f"for n in range({samples}):") for line in body.lines]
        parameters += [
            f"{called}: {parameter_type(node, write)}"
            for called, node, write in zip(names, arrays, written, strict=True)
        ]
        head = ["@kernel", f"def {name}({', '.join(parameters)}):", "    separate()"]
        body.end()
        body.add(*(f"free({taken})" for taken in body.taken))
        return KernelText(name, "\n".join([*head, *body.lines]), list(range(len(self.outputs))), split, sums)


def fill_padded(text: Text, s: Settings, array: str) -> None:
    """Copy a sample to the middle of its padded array, phase by phase."""
    depth = text.depth
    axes = AXES[: len(s.spatial)]
    text.over("c" + axes, (s.channels, *s.spatial))
    terms = [times("c", s.volume)]
    for axis, (letter, (before, _)) in enumerate(zip(axes, s.padding, strict=True)):
        terms.append(s.at(axis, f"{letter} + {before}" if before else letter))
    text.add(f"padded[{plus(*terms)}] = {array}[n, c, {', '.join(axes)}]")
    text.end(depth)


class Correlation(LayerKernel):
    """A convolution, or with `turned` the gradient of one for its input; with `relu` and `pool` what follows it.

    Its outputs are the result (after relu, if there is one), then the maxima of windows.

    A turned one without a stride is a convolution with the places of the kernel in the opposite order. With one, each
    phase of the result, elements that lie a stride apart, is a convolution with those places that meet it. Around its
    operand are zeros that are no part of the sum: where a weight is not finite they have made NaN of what it gives, and
    that is added up again.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        nodes: list[Node],
        inputs: list[Node],
        outputs: list[Node],
        position: int,
        *,
        turned: bool = False,
        phased: Phased | None = None,
        relu: bool = False,
        pool: Any = None,
    ) -> None:
        super().__init__(name, nodes, inputs, outputs, position)
        self.settings = settings
        self.turned = turned
        self.phased = phased
        self.relu = relu
        self.pool = pool
        self.work = settings.work

    @property
    def operations(self) -> int:
        """Each product is added to a sum."""
        return 2 * self.work

    def write(self, name: str) -> KernelText:
        """Its text."""
        s, text = self.settings, Text()
        has_bias = len(self.inputs) == 3
        each, inputs = s.outputs // s.groups, s.channels // s.groups
        height, width = tile(each, -(-s.positions // s.lanes), s.lanes, False)
        step = width * s.lanes
        tiles = s.groups * -(-each // height)
        run = rounded(s.positions, step)
        text.memory("padded", s.reach(step), s.number)
        text.memory("sums", tiles * height * run, s.number, zero=False)
        if self.pool is not None:
            flat(text, "out", "pooled")
            prepare_lines(text, ["lines"], s.number, self.pool, s.outputs)
        self.find_places(text)
        self.pack_weights(text, each, height)
        if self.turned:
            text.add(f"weights_flat, zero = as_shape(w, (w.size,)), {s.number}(0.0)")
            text.add("for i in range(w.size):", f"    zero = plus(zero, weights_flat[i] * {s.number}(0.0))")
        row = "o" if s.groups == 1 or each % height == 0 else f"(o // {each} * {rounded(each, height)} + o % {each})"
        if has_bias:
            text.memory("biases", tiles * height, s.number)
            text.add(f"for o in range({s.outputs}):", f"    biases[{row.strip('()')}] = bias[o]")
        text.loop(SAMPLES)
        fill_padded(text, s, "g" if self.turned else "x")
        if self.phased is not None:
            text.loop(f"for f in range({math.prod(self.phased.stride)}):")
        if s.inner:
            text.loop(f"for i in range({s.size[0]}):")
        depth = text.depth
        text.add(f"# tiles of {height} outputs and {step} positions")
        text.loop(f"for p in range(0, {run}, {step}):", f"for t in range({tiles}):")
        start = [f"{s.number}(0.0)"] * height
        if has_bias:
            start = [f"biases[{plus(times('t', height), str(a))}]" for a in range(height)]
        text.add(*(f"s{a} = filled({number}, {width})" for a, number in enumerate(start)))
        inside = text.depth
        text.loop(f"for c in range({inputs}):")
        channel = "c"
        if s.groups > 1:
            own = f"t // {tiles // s.groups}" if tiles > s.groups else "t"
            channel = f"({times(own, inputs)} + c)"
        first = s.at(0, times("i", s.stride[0])) if s.inner else ""
        text.add(f"at = ({times('t', inputs)} + c) * {s.taps * height}")
        if self.phased is not None:
            text.add(f"at += {times('starts[f]', height)}")
            text.loop("for k in range(starts[f], starts[f + 1]):")
        else:
            text.loop(f"for k in range({s.taps}):")
        where = plus("p", times(channel, s.volume), first, "places[k]")
        text.add(f"seen = load(padded, {where}, {width}, {s.lanes})")
        text.add(*(f"s{a} = multiply_add(weights[{plus('at', str(a))}], seen, s{a})" for a in range(height)))
        text.add(f"at += {height}")
        text.end(inside)
        text.add(f"at = {plus(times('t', height * run), 'p')}")
        sums = [f"maximum_of(s{a}, {s.number}(0.0))" if self.relu else f"s{a}" for a in range(height)]
        text.add(*(f"store(sums, {plus('at', str(a * run))}, {sum}, {s.lanes})" for a, sum in enumerate(sums)))
        text.end(depth)
        self.write_result(text, times(row, run))
        if self.turned:
            text.end(2)
            self.add_up_again(text)
        if self.pool is not None:
            text.end(2)
            maxima_of_windows(text, "out", "pooled", s.outputs, self.pool, s.lanes)
        names = ["g" if self.turned else "x", "w", *(["bias"] if has_bias else []), "out"]
        return self.text(name, names + (["pooled"] if self.pool is not None else []), text, [], s.samples)

    def write_result(self, text: Text, row: str) -> None:
        """Loops that copy the sums to the result, without those between its lines."""
        s = self.settings
        letters = AXES[: len(s.size)]
        flat = letters[s.inner :]
        text.loop(f"for o in range({s.outputs}):")
        place = [*letters]
        terms = [row, *([times(flat[0], s.line)] if len(flat) == 2 else []), flat[-1]]
        if self.phased is None:
            text.over(flat, s.size[s.inner :])
        else:
            p = self.phased
            for axis, letter in enumerate(letters):
                behind = math.prod(p.stride[axis + 1 :])
                phase = times("f", 1) if behind == 1 else f"f // {behind}"
                phase = f"{phase} % {p.stride[axis]}" if axis else phase
                if axis >= s.inner:
                    text.loop(f"for {letter} in range({s.size[axis]}):")
                place[axis] = f"to_{letter}"
                text.add(f"to_{letter} = {letter} * {p.stride[axis]} + {phase} - {p.before[axis]}")
                text.loop(f"if to_{letter} >= 0 and to_{letter} < {p.size[axis]}:")
        text.add(f"out[n, o, {', '.join(place)}] = sums[{plus(*terms)}]")

    def add_up_again(self, text: Text) -> None:
        """Loops that write what is NaN in a sample's result as the sum of those products that it consists of."""
        s, p = self.settings, self.phased
        each, inputs = s.outputs // s.groups, s.channels // s.groups
        letters, places = AXES[: len(s.size)], "uvy"[: len(s.size)]
        place = f"n, o, {', '.join(letters)}"
        text.loop("if not zero == 0.0:  # a weight is not finite")
        text.over("o" + letters, (s.outputs, *(s.size if p is None else p.size)))
        text.loop(f"if out[{place}] != out[{place}]:")
        inside = text.depth
        text.add(f"total = {'bias[o]' if len(self.inputs) == 3 else f'{s.number}(0.0)'}")
        text.over("c" + places, (inputs, *s.kernel))
        met, source = [], []
        for axis, (letter, tap) in enumerate(zip(letters, places, strict=True)):
            step = 1 if p is None else p.stride[axis]
            before = s.dilation[axis] * (s.kernel[axis] - 1) - s.padding[axis][0] if p is None else p.before[axis]
            at, here = f"at_{letter}", plus(letter, str(before))
            text.add(f"{at} = {here} - {times(tap, s.dilation[axis])}")
            met.append(f"{at} >= 0 and {at} < {s.spatial[axis] * step}{f' and {at} % {step} == 0' * (step > 1)}")
            source.append(at if step == 1 else f"{at} // {step}")
        group = "" if s.groups == 1 else times("o" if each == 1 else f"o // {each}", inputs)
        channel = plus(group, "c")
        weight = f"w[{channel}, {'o' if s.groups == 1 else f'o % {each}'}, {', '.join(places)}]"
        text.loop(f"if {' and '.join(met)}:")
        text.add(f"total = plus(total, g[n, {channel}, {', '.join(source)}] * {weight})")
        text.end(inside)
        text.add(f"out[{place}] = {f'maximum(total, {s.number}(0.0))' if self.relu else 'total'}")

    def find_places(self, text: Text) -> None:
        """For each place of the kernel what lies there in the padded sample; for phases, place by place in order."""
        s = self.settings
        letters = AXES[: len(s.kernel)]
        text.memory("places", s.taps, "int64", zero=False)
        if self.phased is None:
            text.over(letters, s.kernel)
            terms = [s.at(axis, times(letter, s.dilation[axis])) for axis, letter in enumerate(letters)]
            text.add(f"places[{nested(letters, s.kernel)}] = {plus(*terms)}")
            text.end()
            return
        p = self.phased
        phases = math.prod(p.stride)
        text.memory("order", s.taps, "int64", zero=False)
        text.memory("starts", phases + 1, "int64")
        text.add("met = 0")
        text.loop(f"for f in range({phases}):")
        text.over(letters, s.kernel)
        met = []
        for axis, letter in enumerate(letters):
            behind = math.prod(p.stride[axis + 1 :])
            phase = "f" if behind == 1 else f"f // {behind}"
            phase = f"{phase} % {p.stride[axis]}" if axis else phase
            met.append(f"{times(letter, s.dilation[axis])} % {p.stride[axis]} == {phase}")
        text.loop(f"if {' and '.join(met)}:")
        text.add(f"order[met] = {nested(letters, s.kernel)}")
        terms = []
        for axis, letter in enumerate(letters):
            back = f"{times(letter, s.dilation[axis])} // {p.stride[axis]}"
            terms.append(times(f"{s.padding[axis][0]} - {back}", math.prod(s.padded[axis + 1 :])))
        text.add(f"places[met] = {plus(*terms)}", "met += 1")
        text.end(2)
        text.add("starts[f + 1] = met")
        text.end()

    def pack_weights(self, text: Text, each: int, height: int) -> None:
        """The weights in the order in which they are read, the outputs of a tile side by side."""
        s = self.settings
        inputs = s.channels // s.groups
        text.memory("weights", s.groups * rounded(each, height) * inputs * s.taps, s.number)
        shape = (s.channels, each, s.taps) if self.turned else (s.outputs, inputs, s.taps)
        text.add(f"flat = as_shape(w, {shape})")
        text.over("ock", (s.outputs, inputs, s.taps))
        tile_of, lane = f"o // {height}", f"o % {height}"
        if each % height and s.groups > 1:
            tile_of = f"(o // {each} * {-(-each // height)} + o % {each} // {height})"
            lane = f"o % {each} % {height}"
        if height == 1:
            tile_of, lane = "o", "0"
        at = plus(f"(({tile_of} * {inputs} + c) * {s.taps} + k) * {height}", lane)
        tap = f"{s.taps - 1} - k" if self.phased is None else "order[k]"
        value = "flat[o, c, k]"
        if self.turned and s.groups == 1:
            value = f"flat[c, o, {tap}]"
        elif self.turned:
            value = f"flat[o // {each} * {inputs} + c, o % {each}, {tap}]"
        text.add(f"weights[{at}] = {value}")
        text.end()


class WeightGradient(LayerKernel):
    """The gradient of a convolution for its weight."""

    def __init__(self, settings: Settings, name: str, node: Node, inputs: list[Node], position: int) -> None:
        super().__init__(name, [node], inputs, [node], position)
        self.settings = settings
        self.work = settings.work

    @property
    def operations(self) -> int:
        """Each product is added to a sum."""
        return 2 * self.work

    def write(self, name: str) -> KernelText:
        """Its text."""
        s, text = self.settings, Text()
        each, inputs = s.outputs // s.groups, s.channels // s.groups
        rows = inputs * s.taps
        height, width = tile(each, rows, 1, True)
        high, wide = rounded(each, height), rounded(rows, width)
        run = rounded(s.positions, s.lanes)
        size = height * width * s.lanes
        kernel, positions = AXES[: len(s.kernel)], AXES[: len(s.size)]
        text.memory("padded", s.reach(s.lanes), s.number)
        text.memory("grads", s.groups * high * s.planes * run, s.number)
        text.memory("places", s.groups * wide, "int64")
        text.over("bc" + kernel, (s.groups, inputs, *s.kernel))
        place = nested("c" + kernel, (inputs, *s.kernel))
        terms = [times(f"b * {inputs} + c" if s.groups > 1 else "c", s.volume)]
        terms += [s.at(axis, times(letter, s.dilation[axis])) for axis, letter in enumerate(kernel)]
        text.add(f"places[{plus(times('b', wide), place)}] = {plus(*terms)}")
        text.end()
        tiles = s.groups * (high // height) * (wide // width)
        text.memory("sums", tiles * size, s.number)
        text.loop(SAMPLES)
        fill_padded(text, s, "x")
        row = "o" if s.groups == 1 or each % height == 0 else f"(o // {each} * {high} + o % {each})"
        text.over("o" + positions, (s.outputs, *s.size))
        flat = positions[s.inner :]
        terms = [times(row, s.planes * run), *([times("i", run)] if s.inner else [])]
        terms += [*([times(flat[0], s.line)] if len(flat) == 2 else []), flat[-1]]
        text.add(f"grads[{plus(*terms)}] = g[n, o, {', '.join(positions)}]")
        text.end(2)
        text.add(f"# tiles of {height} outputs and {width} weights of each")
        text.add("at = 0")
        text.over("bt", (s.groups, high // height))
        text.loop(f"for r in range({times('b', wide)}, {times('b', wide)} + {wide}, {width}):")
        text.add(
            *(f"s{b} = load(sums, {plus('at', str(b * height * s.lanes))}, {height}, {s.lanes})" for b in range(width))
        )
        text.add(*(f"q{b} = places[{plus('r', str(b))}]" for b in range(width)))
        text.add(f"o = {times(plus(times('b', high // height), 't'), height * s.planes * run)}")
        if s.inner:
            text.loop(f"for i in range({s.size[0]}):")
        text.loop(f"for p in range(0, {run}, {s.lanes}):")
        here = plus("o", times("i", run) if s.inner else "", "p")
        text.add(f"g_tile = load(grads, {here}, {height}, {s.planes * run})")
        shift = s.at(0, "i", s.stride[0]) if s.inner else ""
        loaded = (f"load(padded, {plus(f'q{b}', 'p', shift)}, 1, 0)" for b in range(width))
        text.add(*(f"s{b} = multiply_add({x}, g_tile, s{b})" for b, x in enumerate(loaded)))
        text.end(5)
        text.add(*(f"store(sums, {plus('at', str(b * height * s.lanes))}, s{b}, {s.lanes})" for b in range(width)))
        text.add(f"at += {size}")
        text.end()
        # what the lanes have added up
        text.over("oc" + kernel, (s.outputs, inputs, *s.kernel))
        text.add(f"row, r = {row}, {place}")
        text.add(f"at = ((row // {height} * {wide // width} + r // {width}) * {width} + r % {width}) * {height}")
        text.add(f"at = (at + row % {height}) * {s.lanes}", f"total = {s.number}(0.0)")
        text.loop(f"for lane in range({s.lanes}):")
        text.add("total = plus(total, sums[at + lane])")
        text.depth -= 1
        self.add_up_exactly(text)
        text.add(f"out[o, c, {', '.join(kernel)}] = total")
        return self.text(name, ["x", "g", "out"], text, [(0, "np.add")], s.samples)

    def add_up_exactly(self, text: Text) -> None:
        """Loops that add up a weight's gradient anew where it is not finite.

        Between the lines of positions zeros have been multiplied with elements of the sample, infinite ones as well.
        """
        s, depth = self.settings, text.depth
        letters = "uvw"[: len(s.size)]
        text.loop(f"if not abs(total) < {s.number}(np.inf):")
        text.add(f"total = {s.number}(0.0)")
        text.loop(SAMPLES)
        text.over(letters, s.size)
        inside = []
        for axis, letter in enumerate(letters):
            before = s.padding[axis][0]
            place = plus(times(letter, s.stride[axis]), times(AXES[axis], s.dilation[axis]))
            text.add(f"at_{letter} = {place} - {before}" if before else f"at_{letter} = {place}")
            inside.append(f"at_{letter} >= 0 and at_{letter} < {s.spatial[axis]}")
        text.loop(f"if {' and '.join(inside)}:")
        channel = "c"
        if s.groups > 1:
            channel = f"o // {s.outputs // s.groups} * {s.channels // s.groups} + c"
        seen = ", ".join(f"at_{letter}" for letter in letters)
        text.add(f"total = plus(total, x[n, {channel}, {seen}] * g[n, o, {', '.join(letters)}])")
        text.end(depth)


# ----- maxima of windows ----------------------------------------------------------------------------------------------


def places_in(windows: Any, axes: str) -> list[str]:
    """The indices, along all axes but the last, of the lines that a window meets, in order."""
    starts = [times(letter, w.stride) for letter, w in zip(axes, windows, strict=False)]
    places = itertools.product(*(range(w.kernel) for w in windows[:-1]))
    return [
        "".join(f"{plus(start, str(k * w.dilation))}, " for start, k, w in zip(starts, place, windows, strict=False))
        for place in places
    ]


class Lines(NamedTuple):
    """Lines in which the windows of a sample that stand side by side look at what lies side by side.

    Attributes:
        rows: how many lines there are: for each channel and place of a window along all axes but the last.
        pitch: the elements of a line.
        used: how many of them the array has.
    """

    rows: int
    pitch: int
    used: int

    @staticmethod
    def of(windows: Any, channels: int) -> Lines:
        """Those of windows over an array with so many channels."""
        last = windows[-1]
        pitch = max(last.out * last.stride, (last.out - 1) * last.stride + (last.kernel - 1) * last.dilation + 1)
        if apart(last):
            pitch = last.out * last.stride
        return Lines(channels * math.prod(w.out for w in windows[:-1]), pitch, min(last.size, pitch))


def apart(window: Any) -> bool:
    """Whether no element is in two windows."""
    return bool((window.kernel - 1) * window.dilation < window.stride)


def maxima_of_windows(text: Text, source: str, target: str, channels: int, windows: Any, lanes: int) -> None:
    """Loops that write the maximum of each window of a sample: first along all axes but the last, then along that.

    Windows that stand apart are one run through all lines in the second step, which vectorises however short a line is.
    """
    lines, last, axes = Lines.of(windows, channels), windows[-1], AXES[: len(windows) - 1]
    depth = text.depth
    text.over("o" + axes, (channels, *(w.out for w in windows[:-1])))
    text.add(f"r = ({nested('o' + axes, (channels, *(w.out for w in windows[:-1])))}) * {lines.pitch}")
    places = places_in(windows, axes)
    if lines.used < lanes:
        text.loop(f"for c in range({lines.used}):")
        text.add(f"most = {source}[n, o, {places[0]}c]")
        text.add(*(f"most = maximum(most, {source}[n, o, {place}c])" for place in places[1:]))
        text.add("lines[r + c] = most")
    else:
        sizes = [w.size for w in windows]
        begin = nested("no" + axes, (0, channels, *sizes[:-1]))
        for letter, w in zip(axes, windows, strict=False):
            begin = begin.replace(letter, f"{letter} * {w.stride}")
        text.add(f"at = ({begin}) * {last.size}")
        text.loop(f"for v in range(0, {lines.used}, {lanes}):")
        text.add(f"c = min(v, {lines.used - lanes})  # the last vector ends with the line")
        steps = itertools.product(*(range(w.kernel) for w in windows[:-1]))
        ahead = [
            sum(
                k * w.dilation * math.prod(sizes[axis + 1 :])
                for axis, (k, w) in enumerate(zip(step, windows, strict=False))
            )
            for step in steps
        ]
        loads = [f"load({source}_flat, {plus('at + c', str(n))}, 1, 0)" for n in ahead]
        text.add(f"top = {loads[0]}", *(f"top = maximum_of(top, {each})" for each in loads[1:]))
        text.add("store(lines, r + c, top, 0)")
    text.end(depth)
    total = lines.rows * last.out
    if apart(last):
        text.loop(f"for r in range({total}):")
        start, goal = times("r", last.stride), f"{target}_flat[n * {total} + r]"
    else:
        text.loop(f"for r in range({lines.rows}):", f"for c in range({last.out}):")
        start, goal = (
            f"r * {lines.pitch} + {times('c', last.stride)}",
            f"{target}_flat[n * {total} + r * {last.out} + c]",
        )
    text.add(f"most = lines[{start}]")
    text.add(*(f"most = maximum(most, lines[{start} + {k * last.dilation}])" for k in range(1, last.kernel)))
    text.add(f"{goal} = most")
    text.end(depth)


def prepare_lines(text: Text, names: list[str], number: str, windows: Any, channels: int) -> None:
    """Memory for lines; what no line fills is zero."""
    lines = Lines.of(windows, channels)
    for name in names:
        text.memory(name, lines.rows * lines.pitch, number)


def flat(text: Text, *names: str) -> None:
    """Arrays as one long line."""
    text.add(*(f"{name}_flat = as_shape({name}, ({name}.size,))" for name in names))


class MaxPool(LayerKernel):
    """The maxima of windows that lie inside of their array."""

    def __init__(self, name: str, node: Node, x: Node, windows: Any, position: int) -> None:
        super().__init__(name, [node], [x], [node], position)
        self.windows = windows
        self.work = 2 * x.size

    def write(self, name: str) -> KernelText:
        """Its text."""
        x, text = self.inputs[0], Text()
        assert x.shape is not None and x.dtype is not None
        flat(text, "x", "out")
        prepare_lines(text, ["lines"], x.dtype.name, self.windows, x.shape[1])
        text.loop(SAMPLES)
        maxima_of_windows(text, "x", "out", x.shape[1], self.windows, register_bytes() // x.dtype.itemsize)
        return self.text(name, ["x", "out"], text, [], x.shape[0])


class SpreadMaxima(LayerKernel):
    """Values for windows, put where each window's first maximum stands (its last NaN, if it has one); zeros elsewhere.

    The windows lie inside of the array and stand apart.
    """

    def __init__(self, name: str, node: Node, inputs: list[Node], windows: Any, position: int) -> None:
        super().__init__(name, [node], inputs, [node], position)
        self.windows = windows
        self.work = 4 * node.size

    def write(self, name: str) -> KernelText:
        """Its text."""
        node, windows, text = self.outputs[0], self.windows, Text()
        assert node.shape is not None and node.dtype is not None
        channels, last, axes = node.shape[1], windows[-1], AXES[: len(windows) - 1]
        lines, places = Lines.of(windows, channels), places_in(windows, axes)
        number = node.dtype.name
        flat(text, "values", "maxima")
        prepare_lines(text, [f"from{e}" for e in range(len(places))], number, windows, channels)
        prepare_lines(text, [f"to{e}" for e in range(len(places))], number, windows, channels)
        text.loop(SAMPLES)
        over_lines = ["o" + axes, (channels, *(w.out for w in windows[:-1]))]
        line = f"r = ({nested(*over_lines)}) * {lines.pitch}"  # type: ignore[arg-type]
        text.over(*over_lines)  # type: ignore[arg-type]
        text.add(line)
        text.loop(f"for c in range({lines.used}):")
        text.add(*(f"from{e}[r + c] = x[n, o, {place}c]" for e, place in enumerate(places)))
        text.end(2)
        total = lines.rows * last.out
        text.loop(f"for r in range({total}):")
        text.add(f"most = maxima_flat[n * {total} + r]", f"value = values_flat[n * {total} + r]")
        start = times("r", last.stride)
        elements = [
            (f"{e}[{plus(start, str(k * last.dilation))}]", e * last.kernel + k)
            for e in range(len(places))
            for k in range(last.kernel)
        ]
        text.add(*(f"x{k} = from{element}" for element, k in elements))
        for _, k in elements:
            text.add(f"hit{k} = x{k} == most" if k == 0 else f"hit{k} = (x{k} == most) & (not seen)")
            text.add("seen = hit0" if k == 0 else f"seen = seen | hit{k}")
        for _, k in reversed(elements):
            text.add(f"hit{k} = hit{k} | ((x{k} != x{k}) & (not seen))")
            text.add(f"seen = seen | hit{k}")
        text.add(*(f"to{element} = where(hit{k}, value, {number}(0.0))" for element, k in elements))
        text.end(2)
        if any(w.out * w.stride != w.size or w.stride != w.kernel for w in windows[:-1]) or lines.used < last.size:
            every = AXES[: len(windows)]
            text.over("o" + every, (channels, *(w.size for w in windows)))
            text.add(f"out[n, o, {', '.join(every)}] = {number}(0.0)")
            text.end(2)
        text.over(*over_lines)  # type: ignore[arg-type]
        text.add(line)
        text.loop(f"for c in range({lines.used}):")
        text.add(*(f"out[n, o, {place}c] = to{e}[r + c]" for e, place in enumerate(places)))
        return self.text(name, ["values", "maxima", "x", "out"], text, [], node.shape[0])
