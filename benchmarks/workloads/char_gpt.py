"""A training step of a character-level GPT, written as in nanoGPT: many operations of middling size; float32."""

from __future__ import annotations

from typing import Any

from benchmarks.workload import BEST_OF_PYTORCH, COMPILERS, Bound, Program, Workload, as_it_is, pytorch_programs

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, CHARACTERS = 4, 4, 128, 64, 12, 65


def data() -> tuple[Any, Any]:
    """A batch of characters and of those that follow, both (B, T)."""
    import numpy as np

    text = np.random.default_rng(0).integers(0, CHARACTERS, (BATCH, CONTEXT + 1))
    return text[:, :-1].copy(), text[:, 1:].copy()


BLOCK = {
    "ln_1.weight": (WIDTH,),
    "ln_1.bias": (WIDTH,),
    "attn.c_attn.weight": (3 * WIDTH, WIDTH),
    "attn.c_attn.bias": (3 * WIDTH,),
    "attn.c_proj.weight": (WIDTH, WIDTH),
    "attn.c_proj.bias": (WIDTH,),
    "ln_2.weight": (WIDTH,),
    "ln_2.bias": (WIDTH,),
    "c_fc.weight": (4 * WIDTH, WIDTH),
    "c_fc.bias": (4 * WIDTH,),
    "c_proj.weight": (WIDTH, 4 * WIDTH),
    "c_proj.bias": (WIDTH,),
}
"""The parameters of a block, by name, with their shapes."""


def first_parameters() -> dict[str, Any]:
    """The first parameters by PyTorch's names; the head's weight is that of the embedding."""
    import numpy as np

    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (CHARACTERS, WIDTH), "wpe.weight": (CONTEXT, WIDTH)}
    for i in range(LAYERS):
        shapes |= {f"h.{i}.{name}": shape for name, shape in BLOCK.items()}
    shapes |= {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    random = np.random.default_rng(0)
    found = {}
    for name, shape in shapes.items():
        start = float("ln" in name and "weight" in name)
        value = random.normal(0, 0.02, shape) if len(shape) == 2 else np.full(shape, start)
        found[name] = value.astype(np.float32)
    return found


def pytorch_program(torch: Any, compile_step: Any = as_it_is, compile_loss: Any = as_it_is) -> Program:
    """The program as PyTorch's users write it, for both libraries that run it."""
    nn = torch.nn
    F = nn.functional
    x, y = (torch.from_numpy(array) for array in data())

    class Attention(nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.c_attn = nn.Linear(WIDTH, 3 * WIDTH)
            self.c_proj = nn.Linear(WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            batch, length, width = x.size()
            q, k, v = self.c_attn(x).split(WIDTH, dim=2)
            k = k.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
            q = q.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
            v = v.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0, is_causal=True)
            return self.c_proj(y.transpose(1, 2).contiguous().view(batch, length, width))

    class Block(nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.ln_1 = nn.LayerNorm(WIDTH)
            self.attn = Attention()
            self.ln_2 = nn.LayerNorm(WIDTH)
            self.c_fc = nn.Linear(WIDTH, 4 * WIDTH)
            self.gelu = nn.GELU()
            self.c_proj = nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: Any) -> Any:
            x = x + self.attn(self.ln_1(x))
            return x + self.c_proj(self.gelu(self.c_fc(self.ln_2(x))))

    class GPT(nn.Module):  # type: ignore[name-defined, misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.wte = nn.Embedding(CHARACTERS, WIDTH)
            self.wpe = nn.Embedding(CONTEXT, WIDTH)
            self.h = nn.ModuleList([Block() for _ in range(LAYERS)])
            self.ln_f = nn.LayerNorm(WIDTH)
            self.lm_head = nn.Linear(WIDTH, CHARACTERS, bias=False)
            self.wte.weight = self.lm_head.weight

        def forward(self, idx: Any, targets: Any) -> Any:
            _, length = idx.size()
            x = self.wte(idx) + self.wpe(torch.arange(0, length, dtype=torch.long))
            for block in self.h:
                x = block(x)
            logits = self.lm_head(self.ln_f(x))
            return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

    model = GPT()
    start = first_parameters()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(start[name]))
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    last: list[Any] = [None]

    loss_of = compile_loss(model)

    @compile_step
    def train_step(x: Any, y: Any) -> Any:
        loss = loss_of(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    def step() -> None:
        last[0] = train_step(x, y)

    def observe() -> dict[str, Any]:
        found = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
        gradients = {f"grad_{name}": parameter.grad.numpy() for name, parameter in model.named_parameters()}
        return {"loss": last[0].detach().numpy()} | found | gradients

    return Program(step, observe)


def jax() -> Program:
    """The whole step under ``jax.jit``, parameters and moments donated; AdamW written out as optax does it."""
    import functools
    import math

    import jax
    import jax.numpy as jnp

    x, y = (jnp.asarray(array) for array in data())

    def norm(x: Any, weight: Any, bias: Any) -> Any:
        mean = jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean((x - mean) ** 2, axis=-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * weight + bias

    def attention(x: Any, w: Any, b: Any, w_out: Any, b_out: Any) -> Any:
        batch, length, width = x.shape
        heads = (x @ w.T + b).reshape(batch, length, 3, HEADS, width // HEADS)
        q, k, v = (jnp.transpose(heads[:, :, i], (0, 2, 1, 3)) for i in range(3))
        scores = q @ jnp.swapaxes(k, -1, -2) / math.sqrt(width // HEADS)
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        out = jnp.transpose(jax.nn.softmax(scores) @ v, (0, 2, 1, 3)).reshape(batch, length, width)
        return out @ w_out.T + b_out

    def loss_of(p: dict[str, Any], x: Any, y: Any) -> Any:
        h = p["wte.weight"][x] + p["wpe.weight"][: x.shape[1]]
        for i in range(LAYERS):
            b = {name: p[f"h.{i}.{name}"] for name in BLOCK}
            normed = norm(h, b["ln_1.weight"], b["ln_1.bias"])
            h = h + attention(normed, *(value for name, value in b.items() if name.startswith("attn.")))
            normed = norm(h, b["ln_2.weight"], b["ln_2.bias"])
            wide = jax.nn.gelu(normed @ b["c_fc.weight"].T + b["c_fc.bias"], approximate=False)
            h = h + wide @ b["c_proj.weight"].T + b["c_proj.bias"]
        logits = norm(h, p["ln_f.weight"], p["ln_f.bias"]) @ p["wte.weight"].T
        log_probabilities = jax.nn.log_softmax(logits)
        return -jnp.mean(jnp.take_along_axis(log_probabilities, y[..., None], axis=-1))

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2))
    def train_step(p: Any, first: Any, second: Any, count: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(p, x, y)
        new: tuple[dict[str, Any], ...] = ({}, {}, {})
        for name, gradient in gradients.items():
            new[1][name] = 0.9 * first[name] + 0.1 * gradient
            new[2][name] = 0.99 * second[name] + 0.01 * gradient**2
            decayed = p[name] * (1 - 1e-3 * 0.1) if p[name].ndim >= 2 else p[name]
            divisor = jnp.sqrt(new[2][name] / (1 - 0.99**count)) + 1e-8
            new[0][name] = decayed - 1e-3 * new[1][name] / (1 - 0.9**count) / divisor
        return *new, loss, gradients

    state: list[Any] = [{name: jnp.asarray(value) for name, value in first_parameters().items()}]
    state += [jax.tree.map(jnp.zeros_like, state[0]) for _ in range(2)] + [None, None]
    count = [0]

    def step() -> None:
        count[0] += 1
        state[:] = jax.block_until_ready(train_step(*state[:3], float(count[0]), x, y))

    def observe() -> dict[str, Any]:
        import numpy as np

        found = {name: np.asarray(value) for name, value in state[0].items()}
        return {"loss": np.asarray(state[3])} | found | {f"grad_{n}": np.asarray(g) for n, g in state[4].items()}

    return Program(step, observe)


PYTORCH = pytorch_programs(pytorch_program)
WORKLOAD = Workload(
    title="training step, character GPT (4 layers, 4 heads, width 128, context 64), batch 12, AdamW",
    programs=PYTORCH | {"jax": jax, "eager_numpy": PYTORCH["chainrule"]},  # eager uses kernels where Numba is installed
    bounds=(
        Bound(1.0, BEST_OF_PYTORCH),
        Bound(0.8, BEST_OF_PYTORCH, quantity="memory"),
        Bound(0.75, COMPILERS, of="compiled"),
        Bound(0.6, BEST_OF_PYTORCH, of="compiled", quantity="memory"),
        Bound(1.5, ("jax",), of="compiled", quantity="first_call"),
        Bound(1.0, ("eager_numpy",), of="compiled_numpy"),
        Bound(1.0, ("torch_compile",), of="compiled", quantity="first_call"),
        Bound(1.0, ("chainrule",), of="compiled", quantity="warm_first_call", difference=True),
    ),
    tolerance=2e-3,
)
