"""A program with everything that may change between two of its steps; `test_worlds.py` runs it twice.

The functions `step_...` call functions that are compiled in one of the two worlds, the functions `change_...` change
what those rest on. All take a `random.Random`, which both worlds are given alike. Whoever loads this file sets
`wrap`, which compiles or does not, and `number`, which chooses the optimiser.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
import functools
from typing import Any

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional as F
from chainrule.nn.hooks import register_module_forward_hook
from chainrule.nn.utils import clip_grad_norm_, parametrizations
from chainrule.optim.optimizer import register_optimizer_step_pre_hook

wrap: Any = globals()["wrap"]
number: int = globals()["number"]
eager = False  # whether compiled functions run as they are, after one was refused
D = cr.float64


def step(function: Any) -> Any:
    """The function, compiled in one of the worlds."""
    compiled = wrap(function)
    return lambda *args: (function if eager else compiled)(*args)


# ----- what the functions rest on -----


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4, bias=False, dtype=D)
        self.bn = nn.BatchNorm1d(4, dtype=D)
        self.drop = nn.Dropout(0.3)
        self.scale = 1.5
        self.extra: Any = [0.5, {"a": 2.0}]
        self.register_buffer("shift", cr.zeros(4, dtype=D))

    def forward(self, x: Any) -> Any:
        x = self.drop(self.bn(self.fc(x))) * self.scale + self.shift
        return x * self.extra[0] + self.extra[1]["a"]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4, dtype=D)
        self.block = Block()
        self.act: Any = nn.Tanh()
        self.last = nn.Linear(4, 2, dtype=D)
        self.list = nn.ModuleList([nn.Linear(4, 4, dtype=D)])
        self.dict = nn.ParameterDict({"w": nn.Parameter(cr.ones(4, dtype=D))})

    def forward(self, x: Any) -> Any:
        x = self.act(self.first(x))
        for layer in self.list:
            x = x + layer(x)
        return self.last(self.block(x) * self.dict["w"])


class Config:
    rate = 2.0

    def __init__(self) -> None:
        self.base = 1.0
        self.flags = {"on"}
        self.names = ["a", "b"]

    @property
    def product(self) -> float:
        return self.rate * self.base


@dataclasses.dataclass
class Options:
    a: float = 1.0
    b: Any = (1, 2)


class Slots:
    __slots__ = ("v", "w")
    v: float
    w: list[float]


OPTIMIZERS: list[Any] = [
    lambda p: optim.SGD(p, 0.05, momentum=0.5), lambda p: optim.Adam(p, 0.01), lambda p: optim.SGD(p, 0.05),
    lambda p: optim.AdamW(p, 0.01, weight_decay=0.1), lambda p: optim.RMSprop(p, 0.01, eps=1e-3),
]  # fmt: skip


def helper(x: Any, k: float = 2.0, *, plus: float = 0.0) -> Any:
    return x * k + plus


def cell() -> Any:
    content = 1.0

    def get() -> float:
        return content

    def put(value: float) -> None:
        nonlocal content
        content = value

    return get, put


net: Any = Net()
optimizer: Any = OPTIMIZERS[number % len(OPTIMIZERS)](net.parameters())
scheduler: Any = optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
data = cr.randn(16, 3, dtype=D)
target = cr.randn(16, 2, dtype=D)
w: Any = cr.randn(3, dtype=D, requires_grad=True)
w_optimizer = optim.SGD([w], 0.1)
big = cr.randn(6, 6, dtype=D)
flat = cr.zeros(3, dtype=D)
buffer: Any = cr.zeros(3, dtype=D)
alias: Any = buffer[1:]
table: Any = np.arange(6.0).reshape(2, 3)
config, options, slots = Config(), Options(), Slots()
slots.v, slots.w = 1.0, [1.0]
settings: Any = {"rate": 1.0, "nested": {"list": [1.0, 2.0]}}
queue = collections.deque([1.0, 2.0], maxlen=4)
numbers = [1.0, 2.0]
flag = True
scalar: Any = np.float64(3.0)
part = functools.partial(helper, k=3.0)
handlers: Any = {"h": helper}
get_cell, put_cell = cell()
generator: Any = cr.Generator().manual_seed(number)
handles: list[Any] = []


def visible() -> dict[str, Any]:
    """All tensors that can be seen, by name; gradients and states are found by them."""
    found = {f"net.{name}": tensor for name, tensor in net.named_parameters(remove_duplicate=False)}
    found |= {f"net.{name}": tensor for name, tensor in net.named_buffers()}
    return found | dict(data=data, target=target, w=w, big=big, flat=flat, buffer=buffer, alias=alias)


def plain() -> Any:
    """What else can be seen."""
    containers = [vars(config), vars(options), slots.v, slots.w, settings, list(queue), numbers, flag]
    training = [module.training for module in net.modules()]
    return [*map(repr, containers), table, training, scheduler.last_epoch, generator.get_state().array]


def batch(r: Any) -> Any:
    start, count = r.randrange(8), r.choice([5, 5, 5, 2 + r.randrange(4)])
    return data[start : start + count], target[start : start + count]


# ----- steps -----


@step
def train(x: Any, y: Any) -> Any:
    optimizer.zero_grad()
    loss = F.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
    return loss


@step
def accumulate(x: Any, y: Any) -> Any:
    loss = F.mse_loss(net(x), y) / 2
    loss.backward()
    return loss.detach()


@step
def apply(norm: Any) -> Any:
    total = clip_grad_norm_(net.parameters(), norm) if norm else None
    optimizer.step()
    return total


@step
def zero(to_none: bool) -> None:
    optimizer.zero_grad(set_to_none=to_none)


@step
def forward(x: Any) -> Any:
    return net(x)


module = wrap(net)


@step
def train_w(x: Any) -> Any:
    w_optimizer.zero_grad()
    loss = ((x * w).sum(1) ** 2).mean()
    loss.backward()
    w_optimizer.step()
    return loss, w.grad


@step
def replace_gradient(x: Any) -> Any:
    old, w.grad = w.grad, None
    (x * w).sum().backward()
    return old, w.grad, w.grad.detach()[1:]


@step
def flat_gradient(x: Any) -> Any:
    w.grad = flat.zero_()
    (x * w).sum().backward()
    return flat.norm()


@step
def read(x: Any) -> Any:
    out = x * config.rate + config.product + options.a + sum(options.b) + slots.v + slots.w[0]
    out = out * settings["rate"] + sum(settings["nested"]["list"]) + sum(queue) + (numbers[0] if numbers else 0.0)
    out = out + 1 if flag else out
    out = out + float(scalar) + table.sum() + get_cell() + part(x) + handlers["h"](x) + helper(x)
    out = out * getattr(Config, "later", 1.0)
    return (out - 3 if "on" in config.flags else out) + len(config.names)


@step
def draw(x: Any) -> Any:
    return x + cr.rand(3, generator=generator, dtype=D), F.dropout(x, 0.5), cr.randn(2), cr.randperm(4)


@step
def write_buffer(x: Any) -> Any:
    buffer.add_(x.sum(0))
    buffer[0] = 1.0
    return buffer.clone(), buffer.detach()[1:]


@step
def write(a: Any, b: Any) -> Any:
    a.add_(1.0)
    c = a * b
    b.mul_(0.5)
    return c, a + b


@step
def derivatives(x: Any) -> Any:
    (g,) = cr.autograd.grad(((x * w) ** 3).sum(), w, create_graph=True)
    (h,) = cr.autograd.grad((g * g).sum(), w)
    return g.detach(), h


@step
def views(x: Any) -> Any:
    y = x * 2
    found = {"y": y, "row": y[0], "w": w, "x": x, "part": w.detach()[1:], "column": x[:, 0], "buffer": buffer}
    return collections.OrderedDict(found, array=y.detach().numpy(), rest=(y.T, 3, None, "s", y.shape))


@step
def read_gradient(x: Any) -> Any:
    return x.sum() if w.grad is None else (x * w.grad).sum()


@step
def twice(x: Any) -> Any:
    loss = ((x * w) ** 2).sum()
    loss.backward(retain_graph=True)
    loss.backward()
    return loss


@step
def of_arrays(a: Any, b: Any) -> Any:
    return np.sin(a) @ b, a.T, a[0:1]


@step
def of_leaf(x: Any) -> Any:
    (x**2).sum().backward()
    return x.grad


def step_train(r: Any) -> Any:
    return train(*batch(r))


def step_accumulate(r: Any) -> Any:
    return accumulate(*batch(r))


def step_apply(r: Any) -> Any:
    return apply(r.choice([None, 0.5, 1.0]))


def step_zero(r: Any) -> Any:
    return zero(r.random() < 0.5)


def step_forward(r: Any) -> Any:
    return forward(batch(r)[0]).detach()


def step_backward_outside(r: Any) -> Any:
    x, y = batch(r)
    loss = F.mse_loss(forward(x), y)
    if loss.requires_grad:
        loss.backward()
    return loss


def step_unrecorded(r: Any) -> Any:
    with r.choice([cr.no_grad, cr.inference_mode])():
        return forward(batch(r)[0])


def step_module(r: Any) -> Any:
    return (net if eager else module)(batch(r)[0]).detach()


def step_with_w(r: Any) -> Any:
    functions = [train_w, replace_gradient, flat_gradient, derivatives, read_gradient, twice]
    return r.choice(functions)(batch(r)[0])


def step_read(r: Any) -> Any:
    return read(batch(r)[0])


def step_draw(r: Any) -> Any:
    return draw(batch(r)[0])


def step_views(r: Any) -> Any:
    return views(batch(r)[0].clone())


def step_write_buffer(r: Any) -> Any:
    return write_buffer(batch(r)[0])


def step_write(r: Any) -> Any:
    fixed = np.ones(6)
    fixed.flags.writeable = False
    pairs = [
        (big[0], big[1]), (big[0], big[0]), (big[0, :4], big[0, 1:5]), (big[:, 0], big[:, 1]),
        (cr.from_numpy(big.array[0, ::-1]), big[2]), (cr.from_numpy(fixed), big[2]), (w.detach(), big[0, :3]),
        (big[0, :1].expand(6), big[1]), (data[0], data[1]), (big[1:3].T, big[4:6].T), (big[:0], big[:0]),
    ]  # fmt: skip
    return write(*r.choice(pairs))


def step_of_arrays(r: Any) -> Any:
    a = np.random.default_rng(r.randrange(1 << 30)).normal(size=(4, 4))
    fixed = a.copy()
    fixed.flags.writeable = False
    forms = [a, np.asfortranarray(a), a[::-1, ::-1], a.astype(">f8"), a[:0], a.astype("f4"), fixed]
    return of_arrays(r.choice(forms), a)


def step_of_leaf(r: Any) -> Any:
    x = cr.ones(3, dtype=D, requires_grad=True)
    x.grad = r.choice([None, cr.ones(3, dtype=D)])
    return of_leaf(x), x.grad


# ----- changes: parameters and gradients -----


def parameter(r: Any) -> Any:
    return r.choice(list(net.parameters()))


def change_values(r: Any) -> None:
    assign = r.random() < 0.5
    net.load_state_dict({key: value.clone() * 0.9 for key, value in net.state_dict().items()}, assign=assign)


def change_data(r: Any) -> None:
    p = parameter(r)
    new = p.detach().clone() * 0.9
    spread = cr.zeros(*(2 * n for n in p.shape), dtype=D)[tuple(slice(0, None, 2) for _ in p.shape)]
    forms = [new, cr.from_numpy(np.asfortranarray(new.array)), spread.copy_(new), cr.from_numpy(new.array[::-1])]
    p.data = r.choice(forms)


def change_gradient(r: Any) -> None:
    p = parameter(r)
    forms = [None, cr.zeros_like(p).detach(), cr.ones_like(p).detach(), cr.zeros(2, *p.shape, dtype=D)[1]]
    p.grad = r.choice([*forms, cr.from_numpy(np.asfortranarray(np.ones(p.shape)))])


def change_gradients_shared(r: Any) -> None:
    first, second = r.sample([p for p in net.parameters() if p.shape == (4,)], 2)
    first.grad = cr.ones(4, dtype=D)
    second.grad = r.choice([first.grad, first.grad[:]])


def change_gradient_of_w(r: Any) -> None:
    w.grad = r.choice([None, cr.ones(3, dtype=D), cr.ones(6, dtype=D)[::2], flat])


def change_gradient_in_place(r: Any) -> None:
    p = parameter(r)
    if p.grad is not None:
        p.grad.mul_(0.5)


def change_zero_grad(r: Any) -> None:
    optimizer.zero_grad(set_to_none=r.random() < 0.5)


def change_requires_grad(r: Any) -> None:
    for tensor in r.choice([[parameter(r)], list(net.block.parameters()), [w]]):
        tensor.requires_grad_(not tensor.requires_grad)


def change_requires_all(r: Any) -> None:
    for p in net.parameters():
        p.requires_grad_(True)


def change_w(r: Any) -> None:
    global w
    choice = r.randrange(4)
    if choice == 0:
        with cr.no_grad():
            w.mul_(0.5)
    elif choice == 1:
        w.data = cr.ones(6, dtype=D)[::2]
    elif choice == 2:
        w.data = big[0, :3].detach()
    else:
        w = cr.randn(3, dtype=D, requires_grad=True)
        w_optimizer.param_groups[0]["params"][0] = w


# ----- changes: modules -----


def change_layer(r: Any) -> None:
    choice = r.randrange(4)
    if choice == 0:
        net.first = nn.Linear(3, 4, bias=r.random() < 0.5, dtype=D)
    elif choice == 1:
        net.last = nn.Linear(4, 2, dtype=D)
    elif choice == 2:
        net.block.fc = nn.Linear(4, 4, bias=False, dtype=D)
    else:
        net.act = r.choice([nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity])()


def change_list(r: Any) -> None:
    if len(net.list) > 2 or r.random() < 0.4:
        del net.list[-1:]
    else:
        net.list.append(nn.Linear(4, 4, dtype=D))


def change_tie(r: Any) -> None:
    if len(net.list):
        shared = net.block.fc.weight
        net.list[0].weight = r.choice([shared, nn.Parameter(shared.detach().clone())])


def change_bias(r: Any) -> None:
    net.last.bias = r.choice([None, nn.Parameter(cr.zeros(2, dtype=D))])


def change_registry(r: Any) -> None:
    choice = r.randrange(6)
    if choice == 0:
        net._modules["act"] = r.choice([nn.ReLU, nn.Tanh])()
    elif choice == 1:
        net.last._parameters["bias"] = nn.Parameter(cr.ones(2, dtype=D))
    elif choice == 2:
        net.block._buffers["shift"] = cr.ones(4, dtype=D) * r.random()
    elif choice == 3:
        net.block._forward_hooks.clear()
    elif choice == 4:
        net.block.__dict__["scale"] = r.random()
    else:
        net.dict["w"] = nn.Parameter(cr.ones(4, dtype=D) * r.random())


def change_hooks(r: Any) -> None:
    p, factor = parameter(r), r.choice([0.9, 1.1])
    if len(handles) > 5:
        return
    hooks = [
        lambda: net.block.register_forward_hook(lambda module, args, out: out * factor),
        lambda: net.last.register_forward_pre_hook(lambda module, args: (args[0] * factor,)),
        lambda: net.last.register_full_backward_hook(lambda module, inner, outer: (inner[0] * factor,)),
        lambda: p.register_hook(lambda gradient: gradient * factor),
        lambda: p.register_post_accumulate_grad_hook(lambda tensor: tensor.grad.mul_(factor)),
        lambda: register_module_forward_hook(lambda module, args, out: out * factor if module is net.first else None),
        lambda: optimizer.register_step_pre_hook(lambda *_: scale_gradients(factor)),
        lambda: optimizer.register_step_post_hook(lambda *_: scale_w(factor)),
        lambda: register_optimizer_step_pre_hook(lambda which, *_: which is optimizer and scale_gradients(factor)),
    ]
    if p.requires_grad:
        handles.append(r.choice(hooks)())


def scale_gradients(factor: float) -> None:
    for p in net.parameters():
        if p.grad is not None:
            p.grad.mul_(factor)


def scale_w(factor: float) -> None:
    with cr.no_grad():
        w.mul_(factor)


def change_hooks_back(r: Any) -> None:
    if handles:
        handles.pop(r.randrange(len(handles))).remove()


def change_parametrization(r: Any) -> None:
    if not hasattr(net.last, "parametrizations"):
        parametrizations.weight_norm(net.last)
    else:
        nn.utils.parametrize.remove_parametrizations(net.last, "weight")


def change_buffers(r: Any) -> None:
    global buffer, alias
    choice = r.randrange(6)
    if choice == 0:
        net.block.shift = cr.ones(4, dtype=D) * r.random()
    elif choice == 1:
        net.block.shift.add_(0.1)
    elif choice == 2:
        net.block.bn.running_mean = cr.zeros(4, dtype=D)
    elif choice == 3:
        buffer.zero_()
    elif choice == 4:
        alias = cr.ones(2, dtype=D)
    else:
        buffer = cr.zeros(6, dtype=D)[::2]
        alias = buffer[:2]


def change_mode(r: Any) -> None:
    r.choice(list(net.modules())).train(r.random() < 0.5)


def change_attributes(r: Any) -> None:
    choice = r.randrange(6)
    if choice == 0:
        net.block.drop.p = r.choice([0.0, 0.3, 0.6])
    elif choice == 1:
        net.block.scale = r.choice([1.0, 1.5, True, 1])
    elif choice == 2:
        net.block.extra[0] = r.random()
    elif choice == 3:
        net.block.extra[1]["a"] = r.random()
    elif choice == 4:
        net.block.bn.momentum = r.choice([0.1, None, 0.5])
    else:
        net.block.extra = [r.random(), {"a": r.random()}]


def change_net(r: Any) -> None:
    global net, module
    if r.random() < 0.5:
        net = copy.deepcopy(net)
        module = wrap(net)
    else:
        net.first.reset_parameters()


def change_methods(r: Any) -> None:
    if r.random() < 0.5:
        before = Block.forward
        Block.forward = lambda self, x: before(self, x) * 0.9  # type: ignore[method-assign]
    elif "forward" in vars(net.act):
        del net.act.forward
    else:
        net.act.forward = lambda x: x * 0.5


# ----- changes: optimisers -----


def change_group(r: Any) -> None:
    group = r.choice(optimizer.param_groups)
    group["lr"] = r.choice([0.01, 0.02, 0])
    group["weight_decay"] = r.choice([0, 0.01, 0.0])
    if "momentum" in group:
        group["momentum"] = r.choice([0, 0.5, 0.9])
    if "betas" in group:
        group["betas"] = (r.choice([0.8, 0.9]), 0.99)
    if r.random() < 0.2:
        group["maximize"] = not group["maximize"]


def change_groups(r: Any) -> None:
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    new = [p for p in net.parameters() if id(p) not in known]
    if new:
        optimizer.add_param_group({"params": new, "lr": 0.003})
    elif len(optimizer.param_groups[0]["params"]) > 2:
        optimizer.param_groups[0]["params"].pop()


def change_state(r: Any) -> None:
    choice = r.randrange(4)
    if choice == 0:
        optimizer.state.clear()
    elif choice == 1:
        optimizer.state.pop(parameter(r), None)
    elif choice == 2:
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    else:
        for kept in optimizer.state.values():
            kept.update({key: value * 0.5 for key, value in kept.items() if key != "step" and value is not None})


def change_optimizer(r: Any) -> None:
    global optimizer, scheduler
    if r.random() < 0.7:
        scheduler.step()
    else:
        optimizer = OPTIMIZERS[number % len(OPTIMIZERS)](net.parameters())
        scheduler = optim.lr_scheduler.StepLR(optimizer, 1, 0.9)


# ----- changes: Python's objects -----


def change_config(r: Any) -> None:
    value, choice = r.random(), r.randrange(7)
    if choice < 4:
        owner, name = [(Config, "rate"), (config, "rate"), (config, "base"), (Config, "later")][choice]
        setattr(owner, name, value)
    elif choice == 4:
        Config.product = property(lambda self: value)  # type: ignore[assignment]
    elif choice == 5:
        config.flags ^= {"on"}
    else:
        config.names.append("c")


def change_containers(r: Any) -> None:
    value, choice = r.random(), r.randrange(7)
    if choice == 0:
        options.a, options.b = value, (value, 2)
    elif choice == 1:
        slots.v = value
    elif choice == 2:
        slots.w[0] = value
    elif choice == 3:
        settings["rate"] = value
    elif choice == 4:
        settings["nested"]["list"][0] = value
    elif choice == 5:
        queue.append(value)
    else:
        handlers["h"] = r.choice([helper, lambda x: x, part])


def change_names(r: Any) -> None:
    global numbers, flag, scalar, table, part
    value, choice = r.random(), r.randrange(9)
    if choice == 0:
        numbers = [value]
    elif choice == 1:
        numbers.clear()
    elif choice == 2:
        flag = not flag
    elif choice == 3:
        scalar = np.float64(value)
    elif choice == 4:
        table[0, 0] = value
    elif choice == 5:
        table = np.full((2, 3), value).T
    elif choice == 6:
        put_cell(value)
    elif choice == 7:
        part = functools.partial(helper, k=value)
    else:
        part.keywords["k"] = value


def change_defaults(r: Any) -> None:
    if r.random() < 0.5:
        helper.__defaults__ = (r.random(),)
    else:
        assert helper.__kwdefaults__ is not None
        helper.__kwdefaults__["plus"] = r.random()


def change_seeds(r: Any) -> None:
    global generator
    choice = r.randrange(3)
    if choice == 0:
        cr.manual_seed(r.randrange(100))
    elif choice == 1:
        generator.manual_seed(3)
    else:
        generator = cr.Generator().manual_seed(5)
