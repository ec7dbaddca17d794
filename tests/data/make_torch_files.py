"""Makes the files in this folder with PyTorch, so that reading its format is tested where PyTorch is not installed.

python tests/data/make_torch_files.py    # needs torch and safetensors; made with torch 2.13
"""

from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent

grid = torch.arange(12.0).reshape(3, 4)
weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0], [0.5, 4.0]]))
types = ("float64 float32 float16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool complex64 complex128").split()

everything = OrderedDict(
    types={name: torch.tensor([0, 1, 1], dtype=getattr(torch, name)) for name in types},
    scalar=torch.tensor(2.5),
    empty=torch.zeros(0, 3),
    grid=grid,
    transposed=grid.T,
    part=grid[1:, ::2],
    expanded=torch.tensor([[7.0], [8.0]]).expand(2, 3),
    weight=weight,
    tied=weight,
    leaf=torch.ones(2, requires_grad=True),
    conjugated=torch.tensor([1 + 2j]).conj(),
    buffer=torch.nn.Buffer(torch.tensor([3.0])),
    size=grid.shape,
    dtype=torch.float16,
    device=torch.device("cpu"),
    numbers=[0, 1, -1, 255, 65536, 2**31, -(2**40), 2**100, 1.5, float("inf"), True, None, 1j],
    text={"ascii": "a", "other": "é中"},
    bytes=[b"", b"\x00\xff", bytearray(b"ab")],
    nested=({"a": [(), (1,), (1, 2, 3, 4)]}, [[]]),
    members={1, 2},
    counts=Counter("aab"),
    array=np.arange(6, dtype=">i2").reshape(2, 3),
    number=np.float32(0.5),
)
torch.save(everything, HERE / "everything.pt")
torch.save({"half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16), "dtype": torch.bfloat16}, HERE / "bfloat16.pt")
torch.save({"x": torch.ones(1)}, HERE / "legacy.pt", _use_new_zipfile_serialization=False)
torch.save(torch.nn.Linear(1, 1), HERE / "module.pt")

net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
with torch.no_grad():
    for parameter in net.parameters():
        parameter.copy_(torch.linspace(-1, 1, parameter.numel()).reshape(parameter.shape))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
x = torch.linspace(-1, 1, 8).reshape(4, 2)
losses = []
for step in range(6):
    if step == 3:
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        torch.save({**state, "x": x, "losses": losses}, HERE / "training.pt")
    loss = ((net(x) - 1) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    losses.append(loss.item())
print("the losses that follow in training.pt:", losses[3:])

half = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
save_file({"w": grid, "h": half}, HERE / "torch.safetensors", {"by": "torch"})
