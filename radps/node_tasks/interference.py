"""What flagging of interference does on a worker: AOFlagger on some times of all channels, baseline by baseline."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radps.data.files import read_file
from radps.data.urls import split_url
from radps.data.visibilities import load_baselines
from radps.domain.rfi import detect_interference, find_strategy_file, require_aoflagger
from radps.errors import DataError
from radps.node_tasks.blocks import Block
from radps.node_tasks.flag_writing import FlagCounts, FlagJob, write_flags

OWN_STRATEGY = ".lua"
"""End of the URL of a strategy that is not one of AOFlagger's own."""


def check_strategy(strategy: str) -> str:
    """Return the strategy if AOFlagger and it are there; raises otherwise, before any data are read."""
    with _strategy_file(strategy):
        return strategy


def flag_interference_block(
    block: Block, strategy: str, baselines_at_once: int, channels_at_once: int, job: FlagJob
) -> FlagCounts:
    """Find interference in a block of all channels, and write its flags.

    All baselines are in one zarr chunk, so that each batch of baselines reads all chunks of the block again: that is
    the price where memory does not hold the block.

    Parameters
    ----------
    block : Block
        Some times of all channels.
    strategy : str
        Name of a strategy of AOFlagger, or the URL of one.
    baselines_at_once : int
        Baselines whose visibilities are in memory at the same time; the result does not depend on it.
    channels_at_once : int
        Channels that are read at once.
    job : FlagJob
        Where the flags go.
    """
    n_baselines = len(load_baselines(block.address.store)[0])
    parts = _cut_channels(block, channels_at_once)
    flags = [np.zeros(0, np.bool_)] * len(parts)
    found = []
    with _strategy_file(strategy) as path:
        for first in range(0, n_baselines, baselines_at_once):
            batch = slice(first, first + baselines_at_once)
            visibilities: list[NDArray[np.complex64]] = []
            for number, part in enumerate(parts):
                data = part.load()
                visibilities.append(data.visibilities[:, batch].copy())
                flags[number] = data.flags
            known = np.concatenate([one[:, batch] for one in flags], axis=2)
            found.append(detect_interference(np.concatenate(visibilities, axis=2), known, path))
    # Nothing but the flags and the antennas is asked for from here on.
    whole = data._replace(flags=np.concatenate(flags, axis=2), visibilities=np.zeros((0,) * 4, np.complex64))
    return write_flags(block, whole, np.concatenate(found, axis=1), job)


def _cut_channels(block: Block, channels_at_once: int) -> list[Block]:
    """Return the block in parts of some channels."""
    first, last = block.channels
    return [
        block.model_copy(update={"channels": (start, min(start + channels_at_once, last))})
        for start in range(first, last, channels_at_once)
    ]


@contextlib.contextmanager
def _strategy_file(strategy: str) -> Iterator[str]:
    """Give the path of a strategy on this machine; AOFlagger reads local files only."""
    if not strategy.endswith(OWN_STRATEGY):
        yield find_strategy_file(strategy)
        return
    require_aoflagger()
    text = read_file(strategy)
    if text is None:
        raise DataError(f"there is no strategy of AOFlagger at {strategy}; the workers read it: check the path")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / split_url(strategy)[1]
        path.write_bytes(text)
        yield str(path)
