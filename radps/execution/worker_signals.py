"""What a worker process of this machine does with signals; dask imports this when the process starts (``preload``).

Ctrl-C at a terminal goes to all processes of the command. What to do about it is the driver's decision: it records
where the run stands, and then ends its workers. A worker that died of it would say so by a traceback.
"""

from __future__ import annotations

import signal

from distributed import Worker


def dask_setup(worker: Worker) -> None:
    """Let Ctrl-C pass."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
