"""A training step of a character-level GPT, written as in nanoGPT: many operations of middling size; float32."""

from __future__ import annotations

from typing import Any

from benchmarks.workload import BEST_OF_PYTORCH, Bound, Program, Workload

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, CHARACTERS = 4, 4, 128, 64, 12, 65


def data() -> tuple[Any, Any]:
    """A batch of characters and of those that follow, both (B, T)."""
    import numpy as np

    text = np.random.default_rng(0).integers(0, CHARACTERS, (BATCH, CONTEXT + 1))
    return text[:, :-1].copy(), text[:, 1:].copy()


def pytorch_program(torch: Any) -> Program:
    """The program as PyTorch's users write it, for both libraries that run it."""
    import numpy as np

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
    random = np.random.default_rng(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            size = tuple(parameter.shape)
            start = float("ln" in name and "weight" in name)
            value = random.normal(0, 0.02, size) if len(size) == 2 else np.full(size, start)
            parameter.copy_(torch.from_numpy(value.astype(np.float32)))
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    last: list[Any] = [None]

    def step() -> None:
        loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        last[0] = loss

    def observe() -> dict[str, Any]:
        found = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
        gradients = {f"grad_{name}": parameter.grad.numpy() for name, parameter in model.named_parameters()}
        return {"loss": last[0].detach().numpy()} | found | gradients

    return Program(step, observe)


def chainrule() -> Program:
    """PyTorch's program, with ``import chainrule as torch``."""
    import chainrule
    import chainrule.nn
    import chainrule.optim

    return pytorch_program(chainrule)


def torch() -> Program:
    """PyTorch's program."""
    import torch

    return pytorch_program(torch)


WORKLOAD = Workload(
    title="training step, character GPT (4 layers, 4 heads, width 128, context 64), batch 12, AdamW",
    programs={"chainrule": chainrule, "torch1": torch, "torch2": torch},
    bounds=(Bound(1.0, BEST_OF_PYTORCH), Bound(0.8, BEST_OF_PYTORCH, quantity="memory")),
    tolerance=2e-3,
)
