"""Recurrent layers: RNN, LSTM and GRU over whole sequences, and their cells for one step.

The walk through time is in `chainrule.ops.recurrent`; the layers here arrange weights, directions and packed sequences.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..core.tensor import Tensor, make_tensor
from ..ops.recurrent import gru_layer, lstm_layer, rnn_layer
from ..ops.shape import cat, stack
from . import functional as F
from . import init
from .linear import empty_parameter
from .module import Module
from .utils.rnn import PackedSequence, plain, steps_and_rows

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
LAYERS: dict[str, Callable[..., Any]] = {
    "LSTM": lstm_layer,
    "GRU": gru_layer,
    "RNN_TANH": rnn_layer,
    "RNN_RELU": functools.partial(rnn_layer, nonlinearity="relu"),
}


class RNNBase(Module):
    """What RNN, LSTM and GRU share: the weights of all layers and directions, and the way through them.

    Args:
        mode: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
        input_size: the features of the input.
        hidden_size: the features of the state.
        num_layers: layers, each one reading the outputs of the one below.
        bias: whether there are biases.
        batch_first: input and output are (B, T, *), not (T, B, *).
        dropout: the part of a layer's outputs that is set to zero before the next layer reads them.
        bidirectional: also read from the end; outputs are concatenated.
        proj_size: the size to which an LSTM's outputs are projected; 0 for none.

    Attributes:
        weight_ih_l0: (gates * hidden_size, input size of the layer); `_l1` ... for further layers, `_reverse` added for
            the way back. So for weight_hh, (gates * hidden_size, hidden or proj_size); bias_ih; bias_hh; weight_hr.
    """

    __constants__: ClassVar[list[str]] = [
        "mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional",
        "proj_size",
    ]  # fmt: skip

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if mode not in GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed, "
                f"got {dropout!r}"
            )
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if isinstance(size, bool) or not isinstance(size, int):
                raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        for name, flag in (("bias", bias), ("batch_first", batch_first)):
            if not isinstance(flag, bool):
                raise TypeError(f"{name} should be of type bool, got: {type(flag).__name__}")
        for name, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if size <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._all_weights: list[list[str]] = []
        directions = 2 if bidirectional else 1
        rows = GATES[mode] * hidden_size
        out_size = proj_size or hidden_size
        for layer in range(num_layers):
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[:directions]:
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, out_size * directions if layer else input_size),
                    "weight_hh": (rows, out_size),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    setattr(self, name + suffix, empty_parameter(*shape, dtype=dtype))
                self._all_weights.append([name + suffix for name in shapes])
        self.reset_parameters()

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters, a list for each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def reset_parameters(self) -> None:
        """Draw new values, uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing: there is no need to move parameters together here."""

    def _weights(self, index: int) -> tuple[Any, ...]:
        """weight_ih, weight_hh, bias_ih, bias_hh, weight_hr of a layer and direction; None for what there is not."""
        weights = [getattr(self, name) for name in self._all_weights[index]]
        biases = weights[2:4] if self.bias else (None, None)
        return (*weights[:2], *biases, weights[-1] if self.proj_size else None)

    def _state_sizes(self) -> tuple[int, ...]:
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        return sizes if self.mode == "LSTM" else sizes[:1]

    def _check_input(self, input: Tensor, dims: tuple[int, ...]) -> None:
        name = type(self).__name__
        if input.ndim not in dims:
            wanted = "2D (steps, features)" if dims == (2,) else "2D or 3D"
            raise ValueError(f"{name}: Expected input to be {wanted}, got {input.ndim}D tensor instead: {input.shape}")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{name}: input.size(-1) must be equal to input_size. Expected {self.input_size}, got "
                f"{input.shape[-1]} (input of shape {input.shape})"
            )
        weight = self._parameters["weight_ih_l0"]
        if weight is not None and input.array.dtype != weight.array.dtype:
            raise ValueError(
                f"{name}: input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}): convert the input "
                f"with .to({weight.dtype})"
            )

    def _first_state(self, hx: Any, columns: int, batched: bool, like: Tensor) -> tuple[Tensor, ...]:
        """The state to start from, (layers * directions, B, size) each; zeros where none is given."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        sizes = self._state_sizes()
        if hx is None:
            kind = like.array.dtype
            return tuple(make_tensor(np.zeros((count, columns, size), kind), None) for size in sizes)
        name = type(self).__name__
        states = hx if self.mode == "LSTM" else (hx,)
        if not isinstance(states, (tuple, list)) or len(states) != len(sizes):
            raise RuntimeError(f"{name}: hx must be a tuple of the hidden state and the cell state (h_0, c_0)")
        for what, state, size in zip(("hidden", "cell"), states, sizes, strict=False):
            if state.ndim != (3 if batched else 2):
                kind_of = "batched 3-D" if batched else "unbatched 2-D"
                raise RuntimeError(
                    f"{name}: For {kind_of} input, hx should also be {3 if batched else 2}-D but got {state.ndim}-D "
                    "tensor"
                )
            wanted = (count, columns, size) if batched else (count, size)
            if tuple(state.shape) != wanted:
                raise RuntimeError(f"{name}: Expected {what} size {wanted}, got {list(state.shape)}")
        return tuple(states) if batched else tuple(state.unsqueeze(1) for state in states)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """The outputs of the last layer at all steps, and the state after the last step.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I) for one sequence, or a PackedSequence.
            hx: the first state (layers * directions, B, H); for an LSTM two, of outputs and cells. Zeros if left out.

        Raises:
            ValueError, RuntimeError: shapes that do not fit.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        self._check_input(input, (2, 3))
        batched = input.ndim == 3
        x = input if batched else input.unsqueeze(1)
        if batched and self.batch_first:
            x = x.transpose(0, 1)
        length, columns = x.shape[:2]
        if not length:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        out, states = self._run(x, self._first_state(hx, columns, batched, input), (columns,) * length)
        if not batched:
            return out.squeeze(1), self._as_given([state.squeeze(1) for state in states])
        return (out.transpose(0, 1) if self.batch_first else out), self._as_given(states)

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> Any:
        data, batch_sizes, order, undo = packed
        self._check_input(data, (2,))
        sizes = tuple(int(size) for size in batch_sizes.array)
        steps, rows = steps_and_rows(batch_sizes.array)
        where = np.zeros((len(sizes), sizes[0]), np.int64)  # what is read after a sequence's end is not used
        where[steps, rows] = np.arange(len(steps))
        states = self._first_state(hx, sizes[0], True, data)
        if order is not None and hx is not None:
            states = tuple(state[:, order] for state in states)
        out, states = self._run(data[plain(where)], states, sizes)
        if undo is not None:
            states = tuple(state[:, undo] for state in states)
        return PackedSequence(out[plain(steps), plain(rows)], batch_sizes, order, undo), self._as_given(states)

    def _as_given(self, states: Any) -> Any:
        return tuple(states) if self.mode == "LSTM" else states[0]

    def _run(
        self, x: Tensor, states: tuple[Tensor, ...], batch_sizes: tuple[int, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All layers and directions; x is (T, B, I)."""
        layer_of = LAYERS[self.mode]
        directions = 2 if self.bidirectional else 1
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(directions):
                index = layer * directions + direction
                start = tuple(state[index] for state in states)
                out, end = layer_of(x, start, self._weights(index), batch_sizes, bool(direction))
                outputs.append(out)
                last.append(end)
            x = cat(outputs, -1) if len(outputs) > 1 else outputs[0]
            if self.dropout and layer < self.num_layers - 1:
                x = F.dropout(x, self.dropout, self.training)
        return x, tuple(stack(list(ends)) for ends in zip(*last, strict=True))

    def extra_repr(self) -> str:
        """The sizes, and the settings that are not the usual ones."""
        parts = [str(self.input_size), str(self.hidden_size)]
        usual = {
            "proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False
        }  # fmt: skip
        parts += [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        return ", ".join(parts)


class RNN(RNNBase):
    """`h = f(weight_ih x + bias_ih + weight_hh h + bias_hh)` at each step, f tanh or relu.

    Args:
        args: input_size, hidden_size, num_layers, nonlinearity, bias, batch_first, dropout, bidirectional.
        kwargs: the same by name; see `RNNBase`. nonlinearity is "tanh" or "relu".

    >>> import chainrule as cr
    >>> out, last = RNN(3, 5, num_layers=2)(cr.ones(7, 4, 3))
    >>> out.shape, last.shape
    ((7, 4, 5), (2, 4, 5))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter, Schmidhuber 1997), with forget gates; gates stand in the order i, f, g, o.

    Args:
        args: input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size.
        kwargs: the same by name; see `RNNBase`.

    >>> import chainrule as cr
    >>> out, (h, c) = LSTM(3, 5, batch_first=True, bidirectional=True)(cr.ones(4, 7, 3))
    >>> out.shape, h.shape, c.shape
    ((4, 7, 10), (2, 4, 5), (2, 4, 5))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    """Gated recurrent units (Cho et al. 2014); gates stand in the order reset, update, new.

    Args:
        args: input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional.
        kwargs: the same by name; see `RNNBase`.

    >>> import chainrule as cr
    >>> out, last = GRU(3, 5)(cr.ones(7, 3))
    >>> out.shape, last.shape
    ((7, 5), (1, 5))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(Module):
    """What the cells share: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, and one step."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool, num_chunks: int, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = num_chunks * hidden_size
        self.weight_ih = empty_parameter(rows, input_size, dtype=dtype)
        self.weight_hh = empty_parameter(rows, hidden_size, dtype=dtype)
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, empty_parameter(rows, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform on (-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _step(self, layer: Callable[..., Any], input: Tensor, states: Any, count: int = 1) -> tuple[Tensor, ...]:
        """One step of a layer: input (B, I) or (I,), `count` states (B, H) or (H,)."""
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{name}: input has inconsistent input_size: got {input.shape[-1]} expected {self.input_size}"
            )
        batched = input.ndim == 2
        wanted = (*input.shape[:-1], self.hidden_size)
        if states is None:
            states = [make_tensor(np.zeros(wanted, input.array.dtype), None) for _ in range(count)]
        for state in states:
            if state.ndim not in (1, 2):
                raise ValueError(f"{name}: Expected hidden to be 1D or 2D, got {state.ndim}D instead")
            if tuple(state.shape) != wanted:
                raise RuntimeError(f"{name}: Expected hidden of shape {wanted}, got {state.shape}")
        if not batched:
            input, states = input.unsqueeze(0), [state.unsqueeze(0) for state in states]
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh, None)
        last = layer(input.unsqueeze(0), tuple(states), weights, (input.shape[0],), False)[1]
        return tuple(last) if batched else tuple(state.squeeze(0) for state in last)

    def extra_repr(self) -> str:
        """The sizes."""
        parts = [str(self.input_size), str(self.hidden_size)]
        if not self.bias:
            parts.append("bias=False")
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            parts.append(f"nonlinearity={self.nonlinearity}")
        return ", ".join(parts)


class RNNCell(RNNCellBase):
    """One step of an `RNN`: input (B, I) and state (B, H) give the next state.

    >>> import chainrule as cr
    >>> RNNCell(3, 5)(cr.ones(4, 3)).shape
    (4, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state."""
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(LAYERS[f"RNN_{self.nonlinearity.upper()}"], input, None if hx is None else (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`: input (B, I) and states ((B, H), (B, H)) give the next states.

    >>> import chainrule as cr
    >>> h, c = LSTMCell(3, 5)(cr.ones(4, 3))
    >>> h.shape, c.shape
    ((4, 5), (4, 5))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """The next output and cell state."""
        h, c = self._step(lstm_layer, input, hx, 2)
        return h, c


class GRUCell(RNNCellBase):
    """One step of a `GRU`: input (B, I) and state (B, H) give the next state.

    >>> import chainrule as cr
    >>> GRUCell(3, 5)(cr.ones(3)).shape
    (5,)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """The next state."""
        return self._step(gru_layer, input, None if hx is None else (hx,))[0]
