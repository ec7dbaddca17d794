"""The reference of the interface: a page a module, of which Sphinx makes the entries from the docstrings."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import chainrule as cr
from chainrule.ops import MODULES

# page -> (heading, module, what is on it; None: all public names)
ROOMS = {
    "autograd": ("autograd", "chainrule.autograd"),
    "functional": ("autograd.functional", "chainrule.autograd.functional"),
    "func": ("func", "chainrule.func"),
    "nn": ("nn", "chainrule.nn"),
    "nn_functional": ("nn.functional", "chainrule.nn.functional"),
    "nn_init": ("nn.init", "chainrule.nn.init"),
    "nn_utils": ("nn.utils", "chainrule.nn.utils"),
    "optim": ("optim", "chainrule.optim"),
    "lr_scheduler": ("optim.lr_scheduler", "chainrule.optim.lr_scheduler"),
    "swa_utils": ("optim.swa_utils", "chainrule.optim.swa_utils"),
    "data": ("utils.data", "chainrule.utils.data"),
    "checkpoint": ("utils.checkpoint", "chainrule.utils.checkpoint"),
    "compiler": ("compile", "chainrule.compiler"),
    "explain": ("explain", "chainrule.explain"),
    "testing": ("testing", "chainrule.testing"),
    "linalg": ("linalg", "chainrule.linalg"),
    "fft": ("fft", "chainrule.fft"),
    "special": ("special", "chainrule.special"),
    "masked": ("masked", "chainrule.masked"),
    "distributions": ("distributions", "chainrule.distributions"),
    "random": ("random numbers", "chainrule.random"),
    "serialization": ("save and load", "chainrule.serialization"),
    "safetensors": ("safetensors", "chainrule.safetensors"),
    "settings": ("settings", "chainrule.settings"),
}
CORE = """
    Tensor Recipe BACK_FUNCS BackwardFuncLookup backward wrap_forward_fn array_function implements unbroadcast
    topological_sort sorted_computational_graph backprop result_type no_grad enable_grad set_grad_enabled inference_mode
    is_grad_enabled as_torch
""".split()


def described(path: str, thing: Any) -> list[str]:
    """Sphinx's directive for a public name; nothing for plain values and modules."""
    if inspect.isclass(thing):
        if thing is cr.Tensor:
            own = ", ".join(own_members(thing))
            return [f".. autoclass:: {path}", f"   :members: {own}", ""]
        return [f".. autoclass:: {path}", "   :members:", ""]
    if inspect.ismodule(thing) or not callable(thing) or not inspect.getdoc(thing):
        return []
    return [f".. autofunction:: {path}", ""] if inspect.isroutine(thing) else []


def own_members(kind: type) -> list[str]:
    """The documented methods that the class itself defines; those attached to it are functions as well."""
    return [
        name
        for name, member in vars(kind).items()
        if not name.startswith("_")
        and inspect.getdoc(member)
        and getattr(getattr(member, "fget", member), "__module__", "") == kind.__module__
        and getattr(getattr(member, "fget", member), "__qualname__", "").startswith(f"{kind.__name__}.")
    ]


def public(module: Any) -> list[str]:
    """A module's public names, in alphabetical order."""
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, thing in vars(module).items()
            if not name.startswith("_") and str(getattr(thing, "__module__", "")).startswith("chainrule.")
        ]
    return sorted(dict.fromkeys(names), key=lambda name: (name[0].islower(), name.lower()))


def page(indexed: set[Any], heading: str, about: str, path: str, names: list[str], end: str = "") -> str:
    """A page in Markdown with Sphinx's directives."""
    module = importlib.import_module(path)
    lines = []
    for name in names:
        thing = getattr(module, name)
        directive = described(f"{path}.{name}", thing)
        known = (getattr(thing, "__module__", ""), getattr(thing, "__qualname__", name))
        if directive and known in indexed:  # the same thing under another name
            directive.insert(-1, "   :no-index:")
        indexed.add(known)
        lines += directive
    parts = [f"# {heading}", "", about, "", "```{eval-rst}", *lines, "```", "", end]
    return "\n".join(parts)


def pages() -> dict[str, str]:
    """All pages by file name."""
    made = {}
    indexed: set[Any] = set()
    attached = sorted(name for name, member in vars(cr.Tensor).items() if not name.startswith("_") and callable(member))
    methods = "\n## Methods that are operations\n\n" + ", ".join(f"`{name}`" for name in attached) + ".\n"
    made["core.md"] = page(
        indexed,
        "Tensors, the table, the way back",
        "The engine: what `chainrule.core` gives to programs.",
        "chainrule",
        CORE,
        methods,
    )
    families = []
    for module in MODULES:
        short = module.__name__.rpartition(".")[2]
        if not module.__all__:
            continue
        about = " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split())
        names = [name for name in public(module) if callable(vars(cr).get(name))]
        made[f"of_{short}.md"] = page(indexed, f"chainrule: {short.replace('_', ' ')}", about, "chainrule", names)
        families.append(f"of_{short}")
    for name, (heading, path) in ROOMS.items():
        module = importlib.import_module(path)
        about = " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split())
        made[f"{name}.md"] = page(indexed, heading, about, path, public(module))
    lines = ["# The interface", "", "Every public name with its docstring. The examples in them run as tests.", ""]
    lines += ["```{toctree}", ":maxdepth: 1", "core", *families, *ROOMS, "```", ""]
    made["index.md"] = "\n".join(lines)
    return made
