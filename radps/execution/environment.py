"""Environment variables that processes of workers are started with."""

from __future__ import annotations

ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "DUCC0_NUM_THREADS")
}
"""Numeric libraries: as many threads compute as there are slots, not their square."""

KEEP_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 2**20),
}
"""glibc: a worker keeps up to 128 MiB of what it freed. Without this every image of a task is given back to the system
and fetched again, page by page: a third of the CPU time of cube imaging. 32 MiB is the most that glibc allows."""

WORKER_ENVIRONMENT = {**ONE_THREAD, **KEEP_MEMORY}
"""What worker processes are started with."""
