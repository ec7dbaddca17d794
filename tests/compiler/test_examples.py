"""The programs in examples/ with their models compiled, and their whole training steps: they learn what they learn."""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.compiler import compile
from chainrule.nn import functional as F

for extra in ("tqdm", "matplotlib", "sklearn"):
    pytest.importorskip(extra)

pytestmark = pytest.mark.usefixtures("numpy_only")
EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
MODELS = {
    "convnet": "DigitReader",
    "gpt": "GPT",
    "least_squares": "Curve",
    "lstm": "Forecaster",
    "moons": "Classifier",
    "vae": "VAE",
}


@pytest.fixture(scope="module", autouse=True)
def the_folder_on_the_path() -> Iterator[None]:
    threads = cr.get_num_threads()
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))
    for name in ("common", *MODELS):
        sys.modules.pop(name, None)
    cr.set_num_threads(threads)


def run(name: str, folder: Path) -> Any:
    """The checkpoint of a short run."""
    program = importlib.import_module(name)
    default = cr.get_default_dtype()
    cr.set_default_dtype(cr.float64)  # one relu that rounding switches over changes all later losses of float32
    try:
        arguments = ["--short", "--out", str(folder)]
        assert importlib.import_module("common").launch(program.main, program.OPTIONS, arguments) == 0
    finally:
        cr.set_default_dtype(default)
    return cr.load(folder / "checkpoint.pt")


@pytest.mark.filterwarnings("ignore:.*has been traced")
@pytest.mark.parametrize("name", MODELS)
def test_a_program_with_its_model_compiled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cr, "float32", cr.float64)  # the data of most programs
    expected = run(name, tmp_path / "eager")
    program = importlib.import_module(name)
    made: list[Any] = []

    class Compiled(getattr(program, MODELS[name])):  # type: ignore[misc]
        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            made.append(compile(original(*args, **kwargs)))
            return made[-1]

    original = getattr(program, MODELS[name])
    monkeypatch.setattr(program, MODELS[name], Compiled)
    found = run(name, tmp_path / "compiled")
    assert made and made[0].traces >= 1
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-8)
    assert found["model"].keys() == expected["model"].keys()


def digits(program: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    model = program.DigitReader(4)
    return (
        model,
        lambda x, y: F.cross_entropy(model(x), y, label_smoothing=0.05),
        (
            cr.rand(8, 1, 8, 8),
            cr.randint(0, 10, (8,)),
        ),
    )


def text(program: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    model = program.GPT(11, 8, 2, 2, 8)
    return (
        model,
        lambda x, y: F.cross_entropy(model(x).flatten(0, 1), y.flatten()),
        (cr.randint(0, 11, (3, 8)), cr.randint(0, 11, (3, 8))),
    )


def months(program: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    model = program.Forecaster(6)
    x = cr.rand(4, 24)
    return model, lambda x, y: F.mse_loss(model(x), y), (x, cr.rand_like(model(x).detach()))


def moons(program: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    model = program.Classifier()
    x = cr.rand(16, 2)
    return (
        model,
        lambda x, y: F.binary_cross_entropy_with_logits(model(x), y),
        (x, cr.rand_like(model(x).detach()).round()),
    )


def images(program: Any) -> tuple[Any, Any, tuple[Any, ...]]:
    model = program.VAE(2, 16)
    return model, lambda x: program.negative_evidence(model, x), (cr.rand(8, 64),)


STEPS: dict[str, Callable[[Any], Any]] = {
    "convnet": digits,
    "gpt": text,
    "lstm": months,
    "moons": moons,
    "vae": images,
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("make", [optim.AdamW, lambda p, lr: optim.SGD(p, lr=lr, momentum=0.9, nesterov=True)])
def test_a_whole_training_step(name: str, make: Any) -> None:
    program = importlib.import_module(name)
    found: list[Any] = []
    default = cr.get_default_dtype()
    cr.set_default_dtype(cr.float64)
    try:
        for wrap in (lambda step: step, compile):
            cr.manual_seed(0)
            model, loss_of, inputs = STEPS[name](program)
            optimizer = make(model.parameters(), lr=3e-3)
            average = copy.deepcopy(model)

            def step(
                *args: Any,
                model: Any = model,
                optimizer: Any = optimizer,
                loss_of: Any = loss_of,
                average: Any = average,
            ) -> Any:
                loss = loss_of(*args)
                optimizer.zero_grad()
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
                optimizer.step()
                with cr.no_grad():
                    for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
                        mean.lerp_(parameter, 0.1)
                return loss.detach(), norm

            scheduler = optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=12)
            train = wrap(step)
            values = []
            for _ in range(10):
                values += [value.item() for value in train(*inputs)]
                scheduler.step()
            found.append((values, [p.detach().numpy() for m in (model, average) for p in m.parameters()]))
            if wrap is compile:
                assert train.traces == 1
    finally:
        cr.set_default_dtype(default)
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-9)
    for a, b in zip(found[1][1], found[0][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
