"""Where the data sets are that a config names."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence

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
