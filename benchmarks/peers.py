"""Who takes part: the libraries that programs are written for, and how a process that holds one of them is set up."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

INSTALL_COMMAND = "pip install torch==2.13.0 jax jaxlib autograd mygrad micrograd"


@dataclass(frozen=True)
class Peer:
    """A participant: its title in the tables, the modules it imports, and the settings of its process.

    `needs` are modules that must be installed, though its process does not import them at once. `keeping` are the
    settings with which it keeps what it has compiled in `{folder}`, where it keeps nothing by itself.
    """

    title: str
    modules: tuple[str, ...]
    distribution: str
    torch_threads: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    keeping: Mapping[str, str] = field(default_factory=dict)

    def installed(self) -> bool:
        """Whether its modules can be found; imports nothing."""
        return all(
            importlib.util.find_spec(module.partition(".")[0]) is not None for module in (*self.modules, *self.needs)
        )


PEERS: dict[str, Peer] = {
    "chainrule": Peer("chainrule", ("chainrule", "chainrule.nn", "chainrule.optim"), "chainrule"),
    "eager_numpy": Peer(
        "chainrule without Numba",
        ("chainrule", "chainrule.nn", "chainrule.optim"),
        "chainrule",
        environment={"CHAINRULE_KERNELS": "0"},
    ),
    "numpy": Peer("NumPy by hand", ("numpy",), "numpy"),
    "torch1": Peer("PyTorch, 1 thread", ("torch",), "torch", torch_threads=1),
    "torch2": Peer("PyTorch, 2 threads", ("torch",), "torch", torch_threads=2),
    "compiled": Peer(
        "chainrule.compile",
        ("chainrule", "chainrule.nn", "chainrule.optim", "chainrule.compiler"),
        "numba",
        needs=("numba",),
    ),
    "compiled_numpy": Peer(
        "chainrule.compile without Numba",
        ("chainrule", "chainrule.nn", "chainrule.optim", "chainrule.compiler"),
        "chainrule",
        environment={"CHAINRULE_KERNELS": "0"},
    ),
    "torch_compile": Peer("torch.compile", ("torch",), "torch", torch_threads=2),
    "jax": Peer(
        "JAX (jit)",
        ("jax",),
        "jax",
        environment={"JAX_PLATFORMS": "cpu"},
        keeping={
            "JAX_COMPILATION_CACHE_DIR": "{folder}/jax",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        },
    ),
    "autograd": Peer("HIPS autograd", ("autograd",), "autograd"),
    "mygrad": Peer("MyGrad", ("mygrad",), "mygrad"),
    "micrograd": Peer("micrograd", ("micrograd.engine",), "micrograd"),
    "python": Peer("Python alone", (), "python"),
}

KEPT_IN = {
    "CHAINRULE_CACHE_DIR": "chainrule",
    "NUMBA_CACHE_DIR": "numba",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "TRITON_CACHE_DIR": "triton",
    "XDG_CACHE_HOME": "others",
}
"""Where peers keep what they have compiled by themselves: variables, and the folders that these are to name."""


def title_of(names: tuple[str, ...]) -> str:
    """One title for a peer or for the best of several: ``PyTorch, best of 1 and 2 threads``."""
    if len(names) == 1:
        return PEERS[names[0]].title
    if names == ("torch1", "torch2"):
        return "PyTorch, better of 1 and 2 threads"
    return "best of " + ", ".join(PEERS[name].title for name in names)
