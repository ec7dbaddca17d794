"""A compiled program does what the eager one does, whatever happens between two of its steps.

Two worlds are made alike from `world.py`; in one the functions are compiled. Both take the same steps, chosen at
random, and between them the same changes. After each step everything that can be seen is compared: results, tensors,
their gradients and versions, which objects are the same and which share memory, states, numbers, the random stream.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.compiler import compile
from chainrule.compiler.tracer import TraceError
from chainrule.func.trees import flatten
from chainrule.nn import hooks
from chainrule.optim import optimizer

WORLDS = int(os.environ.get("CHAINRULE_TEST_WORLDS", "30"))  # how many pairs
STEPS = 20
EXPECTED_REFUSALS = ("share memory, and the compiled function writes to it",)


class World:
    """A program with all that it rests on, and with its own place in the random stream."""

    def __init__(self, number: int, wrap: Any) -> None:
        self.random_state = cr.Generator().manual_seed(number).get_state()
        spec = importlib.util.spec_from_file_location(f"world_{id(self)}", Path(__file__).with_name("world.py"))
        assert spec is not None and spec.loader is not None
        self.module: Any = importlib.util.module_from_spec(spec)
        self.module.wrap, self.module.number = wrap, number
        sys.modules[spec.name] = self.module
        self.run(spec.loader.exec_module, self.module)

    def run(self, function: Any, *args: Any) -> Any:
        """Call a function in this world."""
        cr.set_rng_state(self.random_state)
        try:
            return function(*args)
        finally:
            self.random_state = cr.get_rng_state()

    def act(self, name: str, seed: int) -> tuple[str, Any]:
        """Take a step, or make a change: "done" and the result, or the kind of the error and what it says."""
        try:
            return "done", self.run(getattr(self.module, name), random.Random(seed))
        except TraceError as error:
            assert any(text in str(error) for text in EXPECTED_REFUSALS), str(error)
            self.module.eager = True
            try:
                return "done", self.run(getattr(self.module, name), random.Random(seed))
            finally:
                self.module.eager = False
        except (RuntimeError, ValueError, KeyError) as error:
            return type(error).__name__, str(error)

    def tensors(self) -> dict[str, Any]:
        """All tensors that can be seen, by name."""
        found = dict(self.module.visible())
        for group in self.module.optimizer.param_groups:
            for i, tensor in enumerate(group["params"]):
                found[f"parameter {i}"] = tensor
                kept = self.module.optimizer.state.get(tensor, {})
                found |= {f"{key} of parameter {i}": x for key, x in sorted(kept.items()) if isinstance(x, cr.Tensor)}
        return found | {f"{name}.grad": x.grad for name, x in found.items() if x.is_leaf and x.grad is not None}

    def appearance(self, before: dict[str, tuple[Any, int]], result: Any) -> Any:
        """What can be seen after a step."""
        tensors = self.tensors()
        results = [x for x in flatten(result)[0] if isinstance(x, (cr.Tensor, np.ndarray)) and x.shape]
        values = {f"result {i}": x for i, x in enumerate(results)} | tensors
        arrays = {name: array_of(value) for name, value in values.items()}
        names = list(values)
        first: dict[int, str] = {}
        module = self.module
        return {
            "result": described(result),
            "tensors": {name: described(tensor) for name, tensor in tensors.items()},
            "the same": [first.setdefault(id(value), name) for name, value in values.items()],
            "memory": [(a, b) for i, a in enumerate(names) for b in names[:i] if share(arrays[a], arrays[b])],
            "kept": [name for name, x in tensors.items() if name in before and before[name][0] is x],
            "groups": [{k: v for k, v in g.items() if k != "params"} for g in module.optimizer.param_groups],
            "plain": described(module.plain()),
            "random": self.random_state.array.copy(),
        }

    def written(self, before: dict[str, tuple[Any, int]]) -> set[str]:
        """The tensors that are the same and have a new version."""
        tensors = self.tensors()
        return {n for n, (x, version) in before.items() if tensors.get(n) is x and x._version != version}


def array_of(value: Any) -> Any:
    return value.array if isinstance(value, cr.Tensor) else value


def share(a: Any, b: Any) -> bool:
    return bool(np.may_share_memory(a, b) and np.shares_memory(a, b))


def described(value: Any) -> Any:
    """A value, such that two can be compared: arrays stay."""
    if isinstance(value, cr.Tensor):
        assert type(value.array) is np.ndarray
        return [value.requires_grad, value.is_leaf, str(value.dtype), value.array.copy()]
    if isinstance(value, dict):
        return [type(value).__name__, {key: described(item) for key, item in value.items()}]
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, [described(item) for item in value]]
    return value.copy() if isinstance(value, np.ndarray) else value


def assert_alike(found: Any, expected: Any, path: str) -> None:
    assert type(found) is type(expected), path
    if isinstance(found, np.ndarray):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype), path
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6, err_msg=path)
    elif isinstance(found, dict):
        assert list(found) == list(expected), path
        for key in found:
            assert_alike(found[key], expected[key], f"{path}, {key}")
    elif isinstance(found, (list, tuple)):
        assert len(found) == len(expected), f"{path}: {found} {expected}"
        for i, (x, y) in enumerate(zip(found, expected, strict=True)):
            assert_alike(x, y, f"{path}, {i}")
    elif isinstance(found, float):
        assert found == pytest.approx(expected, rel=1e-6), path
    else:
        assert found == expected, path


@pytest.fixture
def no_hooks_stay() -> Iterator[None]:
    yield
    for registry in (hooks.EveryModule.forward, hooks.ANY_CALL, optimizer.PRE_HOOKS):
        registry.clear()
    for name in [name for name in sys.modules if name.startswith("world_")]:
        del sys.modules[name]


@pytest.mark.usefixtures("numpy_only", "no_hooks_stay")
@pytest.mark.parametrize("number", range(WORLDS))
def test_a_compiled_program_does_what_the_eager_one_does_whatever_has_changed(number: int) -> None:
    worlds = [World(number, lambda function: function), World(number, compile)]
    chance = random.Random(number)
    names = [name for name, value in vars(worlds[0].module).items() if isinstance(value, types.FunctionType)]
    steps, changes = ([n for n in names if n.startswith(start)] for start in ("step_", "change_"))
    favourites = chance.sample(steps, 2)  # whose programs are met again
    story = []
    for _ in range(STEPS):
        chosen = chance.choice([*favourites, chance.choice(steps)])
        for name in [*chance.choices(changes, k=chance.randrange(3)), chosen]:
            seed = chance.randrange(1 << 30)
            story.append(name)
            before = [{n: (x, x._version) for n, x in world.tensors().items()} for world in worlds]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                (expected_kind, expected), (kind, found) = (world.act(name, seed) for world in worlds)
            assert kind == expected_kind, (story, found, expected)
            if kind != "done":
                return  # eager has done a part of the step
            if name in steps:
                path = f"after {', '.join(story)}"
                looks = zip(worlds, before, (expected, found), strict=True)
                eager, compiled = (world.appearance(known, result) for world, known, result in looks)
                assert_alike(compiled, eager, path)
                assert worlds[0].written(before[0]) <= worlds[1].written(before[1]), path
