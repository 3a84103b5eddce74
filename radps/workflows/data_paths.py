"""Where the data sets are that a config names, and the files that parameters name."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from radps.data.urls import is_local, local_path

_CASADATA = "casadata:"


def find_data(path: str, folders: Sequence[str]) -> str:
    """Return the absolute path or the URL of a data set.

    Parameters
    ----------
    path : str
        A path or URL, or ``casadata:FILE`` for a file of the package casadata. Of a URL it is not asked whether
        something is there.
    folders : sequence of str
        Where a relative path may begin, the first choice first.

    Raises
    ------
    ValueError
        There is nothing; says where was looked, or what to install.
    """
    if path.startswith(_CASADATA):
        return _find_casadata(path)
    if not is_local(path):
        return path
    plain = os.path.expanduser(path.removeprefix("file://"))
    tried = list(dict.fromkeys(local_path(os.path.join(folder, plain)) for folder in folders))
    for place in tried:
        if os.path.exists(place):
            return place
    raise ValueError(f"there is no file or folder {path!r}; looked for {' and '.join(tried)}")


def find_files(names: Iterable[str], folders: Sequence[str]) -> dict[str, str]:
    """Return name -> absolute path of the files that parameters name by a relative path, of those that are there.

    A name without folder and ending may be that of an image of the run, and is left alone.

    Parameters
    ----------
    names : iterable of str
        As they are given; paths and URLs.
    folders : sequence of str
        As of :func:`find_data`.
    """
    found = {}
    for name in names:
        if not is_local(name) or os.path.isabs(os.path.expanduser(name)) or not ("/" in name or "." in name):
            continue
        places = (os.path.abspath(os.path.join(folder, name)) for folder in folders)
        place = next((place for place in places if os.path.exists(place)), None)
        if place is not None:
            found[name] = place
    return found


def replace_texts(value: Any, texts: Mapping[str, str]) -> Any:
    """Return plain data in which some texts are replaced, at whatever depth; keys stay."""
    if isinstance(value, str):
        return texts.get(value, value)
    if isinstance(value, Mapping):
        return {key: replace_texts(inner, texts) for key, inner in value.items()}
    return [replace_texts(inner, texts) for inner in value] if isinstance(value, (list, tuple)) else value


def _find_casadata(path: str) -> str:
    """Return the path of a file of the package casadata."""
    name = path.removeprefix(_CASADATA)
    spec = importlib.util.find_spec("casadata")
    if spec is None or spec.origin is None:
        raise ValueError(
            f"{path!r} is a file of the package casadata, which is not installed; pip install 'radps[casadata]', or "
            "give your own copy: --set data.path=FILE"
        )
    place = os.path.join(os.path.dirname(spec.origin), "__data__", name)
    if not os.path.exists(place):
        raise ValueError(f"the installed package casadata has no file {name!r}")
    return place
