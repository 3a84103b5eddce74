"""Who drives a run: one process of one user on one host, and whether that process is there.

A number of a process means something only in its own table of processes. Two containers of one host, or a host before
and after a boot, have different ones, even if their host names are the same.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import socket
import time

import psutil
from pydantic import Field, ValidationError

from radps.context.base import Record

LEASE_S = 30.0
"""A driver that is silent for so long is dead."""


class Driver(Record):
    """Who drives a run."""

    host: str
    pid: int
    user: str
    process_start_s: float
    """When the process started, by the clock as it was then: another process may get its number later."""
    process_start_ticks: int = 0
    """The same in ticks since the boot, which nobody moves who sets the clock; 0 = the system does not say."""
    start_s: float
    machine: str = ""
    """Which table of processes ``pid`` stands in: containers of one host have several."""
    lease_s: float = LEASE_S
    """It is dead if its beat does not change for so long."""
    beat: int = 0
    """Raised by one every few seconds."""
    beat_time_s: float = 0.0
    """When the beat was raised, by the driver's clock; for display."""
    taken_over_from: str = ""
    """The driver whose lock this one took over because it was dead."""
    token: str = Field(default_factory=lambda: secrets.token_hex(8))
    """Tells two locks of one process apart."""

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.start_s))
        return f"process {self.pid} of {self.user} on {self.host}, since {since}"


def dump_driver(driver: Driver) -> bytes:
    """Return the text of a lock file."""
    return driver.model_dump_json(indent=1).encode()


def parse_driver(text: bytes, lease_s: float = LEASE_S) -> Driver:
    """Return the driver of a lock file; a damaged file is the lock of somebody unknown, with the given lease."""
    try:
        return Driver.model_validate_json(text)
    except ValidationError:
        unknown = Driver(host="an unknown host", pid=0, user="an unknown user", process_start_s=0, start_s=0)
        return unknown.model_copy(update={"lease_s": lease_s, "token": repr(text)})


def this_process(lease_s: float) -> Driver:
    """Return this process as a driver."""
    now = time.time()
    return Driver(
        host=socket.gethostname(),
        pid=os.getpid(),
        user=find_user(),
        process_start_s=psutil.Process().create_time(),
        process_start_ticks=_start_ticks(os.getpid()),
        start_s=now,
        machine=this_machine(),
        lease_s=lease_s,
        beat_time_s=now,
    )


def find_user() -> str:
    """Return the name of the user, or the number where the machine knows no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def this_machine() -> str:
    """Return what tells tables of processes apart: the boot of the host, and the container on it."""
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as stream:
        return f"{stream.read().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    return ""


def is_neighbour(driver: Driver) -> bool:
    """Return True if the driver stands in the table of processes that this process sees."""
    return driver.machine != "" and (driver.host, driver.machine) == (socket.gethostname(), this_machine())


def is_gone(driver: Driver) -> bool:
    """Return True if the driver was a process of this host, and that process is gone."""
    if not is_neighbour(driver):
        return False
    try:
        process = psutil.Process(driver.pid)
        return not _is_same(process, driver) or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _is_same(process: psutil.Process, driver: Driver) -> bool:
    """Return True unless a process that started at another time has the number of the driver."""
    ticks = _start_ticks(driver.pid)
    if ticks and driver.process_start_ticks:
        return ticks == driver.process_start_ticks
    # A second of grace: the time of start is derived from the time of boot, which the clock's drift moves.
    return bool(abs(process.create_time() - driver.process_start_s) <= 1.0)


def _start_ticks(pid: int) -> int:
    """Return when a process started, in ticks since the boot; 0 where the system does not say (Linux does)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            # The name of the program, in brackets, may hold spaces and brackets.
            return int(stream.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
