"""Worker processes on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping

import dask
from distributed import Client, LocalCluster, Status

from radps.errors import ClusterError
from radps.execution import worker_signals
from radps.execution.client import OnClient, first_line
from radps.execution.environment import WORKER_ENVIRONMENT

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT = "distributed.comm.timeouts.connect"


@contextlib.contextmanager
def open_local(
    workers: int, memory_bytes: int, *, resources: Mapping[str, float] | None = None, allowed_failures: int = 3
) -> Iterator[OnClient]:
    """Start worker processes on this machine, reachable from this machine only.

    Parameters
    ----------
    workers : int
        Processes, one thread each.
    memory_bytes : int
        Memory of each.
    resources : mapping, optional
        What each one offers to tasks that ask for it.
    allowed_failures : int
        How many workers a task may take with it before it is given up.

    Raises
    ------
    ClusterError
        They do not start.
    """
    settings = {
        "distributed.nanny.pre-spawn-environ": {
            **dask.config.get("distributed.nanny.pre-spawn-environ"),
            **WORKER_ENVIRONMENT,
        },
        "distributed.scheduler.allowed-failures": allowed_failures,
        # Dask gives up a worker that happens to be starting 15 s after it died, though its nanny is at work.
        "distributed.deploy.lost-worker-timeout": "1 day",
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        try:
            with _log_handlers_as_they_are():
                cluster = stack.enter_context(
                    LocalCluster(
                        n_workers=workers,
                        threads_per_worker=1,
                        processes=True,
                        host="127.0.0.1",
                        memory_limit=memory_bytes,
                        resources=dict(resources or {}),
                        preload=[*dask.config.get("distributed.worker.preload"), worker_signals.__name__],
                        dashboard_address="127.0.0.1:0",
                        # What a task raises comes back to the driver; printed by each worker, too, it would hide the
                        # message.
                        silence_logs=logging.CRITICAL,
                    )
                )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(
                f"cannot start {workers} worker processes on this machine: {first_line(error)}; "
                "try fewer (--workers N) or --cluster none"
            ) from error
        try:
            yield OnClient(client, f"{workers} worker process{'es' if workers > 1 else ''} on this machine")
        finally:
            # A scheduler that is gone is asked to end, too, and answers no more.
            patience = {} if cluster.scheduler.status is Status.running else {_CONNECT_TIMEOUT: "1 s"}
            with dask.config.set(patience):
                try:
                    stack.close()
                except RuntimeError:
                    # Its event loop has ended before, so that there is nothing left to close.
                    logger.info("closing the cluster failed", exc_info=True)


@contextlib.contextmanager
def _log_handlers_as_they_are() -> Iterator[None]:
    """Let dask silence what it prints itself, but not the log files of others, that of the run among them."""
    handlers = [one for one in logging.getLogger("distributed").handlers if type(one) is not logging.StreamHandler]
    levels = [handler.level for handler in handlers]
    try:
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)
