"""The log of a run: what radps and dask say, in ``log.txt`` of a local run folder."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator

from radps.data.urls import is_local, join_url, local_path

LOG = "log.txt"


@contextlib.contextmanager
def log_to_file(url: str) -> Iterator[None]:
    """Write the log of radps and distributed to the run folder at ``url``, if it is local."""
    if not is_local(url):
        yield
        return
    handler = logging.FileHandler(local_path(join_url(url, LOG)), encoding="utf-8")
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    loggers = (logging.getLogger("radps"), logging.getLogger("distributed"))
    level = loggers[0].level
    loggers[0].setLevel(logging.INFO)
    for each in loggers:
        each.addHandler(handler)
    try:
        yield
    finally:
        for each in loggers:
            each.removeHandler(handler)
        loggers[0].setLevel(level)
        handler.close()
