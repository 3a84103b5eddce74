"""The small files of a run folder by name; what goes wrong with them is an error of the run folder."""

from __future__ import annotations

from radps.data import files
from radps.data.files import FileChangedError
from radps.data.urls import absolute_url, is_local, join_url
from radps.errors import ContextError


class RunFiles:
    """Reads and writes whole files of a run folder, see :mod:`radps.data.files`.

    Every method raises ContextError, which names the folder and the remedy, if the folder cannot be read or written.
    """

    def __init__(self, url: str) -> None:
        self.url = absolute_url(url)

    def place(self, name: str) -> str:
        """Return the URL of a file."""
        return join_url(self.url, name)

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, None if there is none."""
        try:
            return files.read_file(self.place(name))
        except OSError as error:
            raise self.unreadable(name, error) from error

    def list_names(self, folder: str) -> list[str]:
        """Return the names of the files of a folder, unsorted."""
        try:
            return files.list_names(self.place(folder))
        except OSError as error:
            raise self.unreadable(folder, error) from error

    def find_version(self, name: str) -> str | None:
        """Return what changes whenever a file is replaced, None if there is no file."""
        try:
            return files.find_version(self.place(name))
        except OSError as error:
            raise self.unreadable(name, error) from error

    def replace(self, name: str, data: bytes, *, version: str | None = None) -> str | None:
        """Write a file in place of what is there (FileChangedError: that is not ``version``); return its version."""
        try:
            return files.replace_file(self.place(name), data, version=version)
        except FileChangedError:
            raise
        except OSError as error:
            raise self.unwritable(error) from error

    def create(self, name: str, data: bytes) -> str | None:
        """Write a file that must not be there yet (FileExistsError), and return its version."""
        try:
            return files.create_file(self.place(name), data)
        except FileExistsError:
            raise
        except OSError as error:
            raise self.unwritable(error) from error

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens if there is none."""
        try:
            files.delete_file(self.place(name))
        except OSError as error:
            raise self.unwritable(error) from error

    def unreadable(self, name: str, error: OSError) -> ContextError:
        """Return the error of a file that cannot be read."""
        return ContextError(f"cannot read {self.place(name)}: {error}; check {self._what_to_check()}")

    def unwritable(self, error: OSError) -> ContextError:
        """Return the error of a folder that cannot be written."""
        return ContextError(
            f"cannot write the run folder {self.url}: {error}; check {self._what_to_check()}, or give another folder "
            "by --run"
        )

    def _what_to_check(self) -> str:
        if is_local(self.url):
            return "its permissions and the space on the disk"
        return "that the bucket is there, the endpoint, and the credentials"
