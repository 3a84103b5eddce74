"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.util
import lzma
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest


def pytest_configure() -> None:
    """Forget the width of the terminal: it is not that of what the tests read."""
    os.environ.pop("COLUMNS", None)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Share all tests out to a process a core; what is asked for by name runs in this one, where a debugger works."""
    return min(os.cpu_count() or 1, 4) if config.args_source is not pytest.Config.ArgsSource.ARGS else 0


def find_shared() -> Path | None:
    """Return the folder of reference material: RADPS_SHARED, or ``../shared`` beside the checkout."""
    named = os.environ.get("RADPS_SHARED")
    candidates = [Path(named)] if named else [Path(__file__).resolve().parents[2] / "shared"]
    return next((path for path in candidates if (path / "data").is_dir()), None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the real data and the reference tables; the test is skipped where there is none."""
    shared = find_shared()
    if shared is None:
        pytest.skip("no reference material: set RADPS_SHARED to its folder, or put it beside the checkout as ../shared")
    return shared / "data"


@pytest.fixture(scope="session")
def user_stages() -> Iterator[str]:
    """The module with the stages of the tests: importable here, and in worker processes, which take over the path."""
    folder = str(Path(__file__).parent / "helpers")
    sys.path.append(folder)
    yield "user_stages"
    sys.path.remove(folder)


@pytest.fixture(scope="session")
def ngc5921_fits(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The UVFITS file of NGC 5921, unpacked."""
    packed = shared_data / "ngc5921" / "NGC5921.fits.xz"
    if not packed.exists():
        pytest.skip(f"no real data: there is no {packed}")
    path = tmp_path_factory.mktemp("ngc5921") / "NGC5921.fits"
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    return path


@pytest.fixture(scope="session")
def datasets() -> ModuleType:
    """The module that writes small data sets in the formats of other programs."""
    return load_helper("datasets")


@pytest.fixture(scope="session")
def simulated_msv2() -> ModuleType:
    """The module that writes simulated observations as MSv2 folders."""
    return load_helper("simulated_msv2")


@pytest.fixture(scope="session")
def screens() -> ModuleType:
    """The module of consoles that print into memory."""
    return load_helper("screens")


@pytest.fixture(scope="session")
def notebooks() -> ModuleType:
    """The module that runs notebooks."""
    return load_helper("notebooks")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless browser, see tests/helpers/browser.py; the test is skipped where there is none."""
    with load_helper("browser").open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def load_helper(helper: str) -> ModuleType:
    """Return a module of the folder of helpers, which is no package."""
    name = f"radps_test_{helper}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / "helpers" / f"{helper}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


class ObjectStore(NamedTuple):
    """An S3 server of the tests."""

    endpoint: str
    environment: dict[str, str]
    """What a program has to find in its environment."""

    def new_bucket(self) -> str:
        """Make an empty bucket and return its URL."""
        import s3fs  # an extra of radps

        name = f"bucket-{uuid.uuid4().hex[:12]}"
        s3fs.S3FileSystem().mkdir(name)
        return f"s3://{name}"


_SERVE = (
    "import sys; from moto.server import ThreadedMotoServer\n"
    "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); server.start()\n"
    "print(server.get_host_and_port()[1], flush=True); sys.stdin.read()"
)
"""Ends with its standard input, and so with the tests, however these end."""


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """An S3 server as a process of its own, known to this process and its children by their environment."""
    pytest.importorskip("moto", reason="the S3 server of the tests comes with radps[test]")
    pytest.importorskip("s3fs", reason="object stores need radps[s3]")
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield ObjectStore(endpoint, environment)
    server.stdin.close()
    server.wait(timeout=30)
    server.stdout.close()
