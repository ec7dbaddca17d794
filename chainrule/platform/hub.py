"""`chainrule.hub`: importable; nothing is downloaded. Its `tqdm` is what programs import from here."""

from __future__ import annotations

import os
from typing import Any

from ..absent import absent as _absent
from ..absent import refused as _refused

_FILES = "nothing is downloaded; get the file yourself and read it with chainrule.load"
load_state_dict_from_url = _refused("torch.hub.load_state_dict_from_url", _FILES)
download_url_to_file = _refused("torch.hub.download_url_to_file", _FILES)
load_url = load_state_dict_from_url
_CODE = "nothing is downloaded; put the model's code beside the program and import it"
load = _refused("torch.hub.load", _CODE)
list = _refused("torch.hub.list", _CODE)
help = _refused("torch.hub.help", _CODE)

_folder: str | None = None


def get_dir() -> str:
    """The folder in which PyTorch would look for downloaded files first."""
    if _folder is not None:
        return _folder
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.join(os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch"))), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Name that folder."""
    global _folder
    _folder = os.path.expanduser(d)


_say_absent = _absent("chainrule.hub")


def __getattr__(name: str) -> Any:
    if name == "tqdm":
        try:
            from tqdm import tqdm
        except ImportError:
            return _say_absent(name)
        return tqdm
    return _say_absent(name)
