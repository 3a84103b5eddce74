"""The plan for 1.2 million channels of 16,384 x 16,384 pixels: radps' own projections, times what was measured.

The numbers that were measured stand here with the benchmark that gives them; all others follow. Run on demand, it
prints the table of docs/scaling.md, and checks that it stands there::

    pytest tests/benchmarks/bench_million_channels.py -s
"""

from __future__ import annotations

from pathlib import Path

from radps.data.chunks import COMPLEX64_BYTES, plan_channel_chunks, plan_storage_chunks
from radps.data.images import TILE_PIXELS
from radps.domain.geometry import ImageGrid
from radps.domain.imaging import estimate_plane_memory
from radps.execution.engine import MEMORY_SHARE
from radps.execution.kubernetes.model import NANNY_BYTES
from radps.stages.image_cube import READ_BYTES

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"

# What is to be imaged.
WINDOWS, CHANNELS, PIXELS = 80, 15_000, 16_384
ANTENNAS, INTEGRATIONS, HANDS = 66, 1_200, 2
VARIABLES = 4
"""SKY, its residual, its model, the PSF."""

# What there is.
WORKERS, POD_BYTES = 64, 36 * 2**30
"""Of a run; each window has a run of its own."""

# What was measured.
CPU_S_A_PIXEL = 192 / 8_192**2
"""bench_large_planes.py, three residual updates."""
SMALL_REQUESTS = {"PUT": 5, "GET": 15, "HEAD": 20}
"""bench_requests.py: of a channel, besides its visibilities and tiles."""
GRAPH_S, GRAPH_BYTES = 0.33e-3, 119
"""bench_scaling.py: to build the graph of a chunk, and its pickle."""
TASK_S, TASK_BYTES = 2.1e-3, 7.8 * 2**20 / 1000
"""bench_scaling.py: scheduler and driver, for a chunk."""

# What is assumed to be paid [dollars].
GIB_HOUR, PUTS_1000, GETS_1000, GB_MONTH = 0.008, 0.005, 0.0004, 0.023


def rows() -> list[tuple[str, str]]:
    """Return what is planned, and how much of it."""
    total = WINDOWS * CHANNELS
    baselines = ANTENNAS * (ANTENNAS - 1) // 2
    samples = baselines * INTEGRATIONS
    times, stored = plan_storage_chunks((INTEGRATIONS, baselines, CHANNELS, HANDS))
    plane = estimate_plane_memory(samples, ImageGrid(PIXELS, PIXELS, 1e-7))
    slot = int((POD_BYTES - NANNY_BYTES) * MEMORY_SHARE)
    reading = samples * HANDS * READ_BYTES
    width = min(stored, (slot - plane) // reading)
    parts = plan_channel_chunks(
        CHANNELS,
        stage="cube",
        bytes_per_channel=0,
        bytes_fixed=plane + width * reading,
        slots=WORKERS,
        memory_bytes=slot,
    )
    tasks = WINDOWS * len(parts)
    channel_bytes = samples * HANDS * (COMPLEX64_BYTES + 4 + 1)
    pieces = sum(-(-part.size // width) for part in parts) / CHANNELS
    again = pieces * stored
    image_bytes = 4 * PIXELS**2 * VARIABLES
    tiles = VARIABLES * (-(-PIXELS // TILE_PIXELS)) ** 2
    chunk_gets = 3 * -(-INTEGRATIONS // times) * pieces
    puts, gets = total * (tiles + SMALL_REQUESTS["PUT"]), total * (chunk_gets + SMALL_REQUESTS["GET"])
    gets += total * SMALL_REQUESTS["HEAD"]
    cpu_s = CPU_S_A_PIXEL * PIXELS**2
    hours = total * cpu_s / 3600
    workers = WINDOWS * WORKERS
    seconds = hours * 3600 / workers
    traffic = channel_bytes * again + image_bytes
    return [
        ("channels", f"{WINDOWS} windows x {CHANNELS:,} = {total:,}"),
        ("visibilities of a channel", f"{baselines:,} baselines x {INTEGRATIONS:,} integrations x {HANDS} hands"),
        ("visibilities in all, with flags and weights", f"{total * channel_bytes / 1e12:.0f} TB"),
        ("a zarr chunk of them", f"{times} integration x {stored} channels"),
        ("memory of a plane", f"{plane / 2**30:.1f} GiB"),
        ("memory to read one channel", f"{reading / 2**30:.2f} GiB"),
        (f"channels that a worker of {POD_BYTES / 2**30:.0f} GiB reads at once", f"{width}"),
        ("times that a zarr chunk is read", f"{again:.0f}"),
        ("tasks of imaging, of a run and in all", f"{len(parts):,}; {tasks:,}"),
        ("channels of a task", f"{CHANNELS / len(parts):.0f}"),
        ("graph of a run", f"{len(parts) * GRAPH_BYTES / 1e3:.0f} kB, {len(parts) * GRAPH_S:.2f} s CPU to build"),
        (
            "scheduler and driver of a run",
            f"{len(parts) * TASK_S:.1f} s CPU, {len(parts) * TASK_BYTES / 2**20:.1f} MiB",
        ),
        ("CPU time of a channel", f"{cpu_s / 60:.0f} min"),
        ("CPU time in all", f"{hours:,.0f} h"),
        (f"time with {WINDOWS} x {WORKERS} workers of one core", f"{seconds / 86400:.1f} days"),
        ("images in all, before compression", f"{total * image_bytes / 1e15:.1f} PB"),
        ("network of a worker", f"{traffic / cpu_s / 1e6:.0f} MB/s"),
        ("network of all workers", f"{traffic / cpu_s * workers / 1e9:.0f} GB/s"),
        ("PUT requests", f"{puts / 1e6:,.0f} million, {puts / seconds:,.0f} a second"),
        ("GET and HEAD requests", f"{gets / 1e6:,.0f} million"),
        ("cost of the workers", f"${hours * POD_BYTES / 2**30 * GIB_HOUR:,.0f}"),
        ("cost of the requests", f"${puts / 1000 * PUTS_1000 + gets / 1000 * GETS_1000:,.0f}"),
        ("cost to keep the images for a month", f"${total * image_bytes / 1e9 * GB_MONTH:,.0f}"),
    ]


def test_the_plan_stands_in_the_documentation() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = [f"| {what} | {number} |" for what, number in rows()]
    print("\n" + "\n".join(lines))
    missing = [line for line in lines if line not in text]
    assert missing == []
