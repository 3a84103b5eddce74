"""The calibration state: models of calibrators, and which solutions apply to which data.

1. A table says what it corrects by selection: fields, spectral windows, intents. It is ``pending`` until a step has
   applied it, and ``applied`` from then on.
2. All changes of a step are made at once (:meth:`CalibrationState.changed`): tables are taken out, put in, marked as
   applied, or, if one of the changes cannot be made, none is.
3. No two tables of one kind may correct the same data: both would be divided out. A table that takes the place of
   another one has its name, or the other one is removed in the same step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Self

from radps.context.base import Record
from radps.context.observation import Partition
from radps.errors import ContextError

TableKind = Literal["delay", "bandpass", "phase", "gain", "self_phase", "self_gain"]
"""What a table holds."""

_ORDER = ("delay", "bandpass", "phase", "gain", "self_phase", "self_gain")
"""Kinds of tables in the order in which they are applied: that of the solver."""


class FluxDensityRecord(Record):
    """The flux density of a calibrator in a spectral window, and where it comes from."""

    field: str
    window: str = ""
    """Name of the spectral window; empty = the same in all of them."""
    flux_jy: float
    error_jy: float
    frequency_hz: float
    origin: str
    """``Perley-Butler 2017``, ``flux transfer``, ``config``."""
    n_solutions: int | None = None


class SkyComponent(Record):
    """A point source or Gaussian of a calibrator's model."""

    l: float = 0.0
    """Direction cosine towards the east of the phase centre."""
    m: float = 0.0
    """Direction cosine towards the north of the phase centre."""
    flux_jy: float
    """At ``reference_frequency_hz``."""
    reference_frequency_hz: float
    spectral_index: float = 0.0
    spectral_curvature: tuple[float, ...] = ()
    """log10(S / flux) = spectral_index x + curvature[0] x^2 + ..., x = log10(f / reference)."""
    major_rad: float = 0.0
    """Full width at half maximum; 0 is a point source."""
    minor_rad: float = 0.0
    position_angle_rad: float = 0.0
    """North through east."""
    q_fraction: float = 0.0
    """Stokes Q over I, at all frequencies; on the sky (IAU)."""
    u_fraction: float = 0.0
    """Stokes U over I."""
    v_fraction: float = 0.0
    """Stokes V over I."""


class SkyImage(Record):
    """A model image whose pixels have a common spectrum."""

    path: str
    """Its brightness with the sum 1, an array (1, l, m)."""
    size: tuple[int, int]
    """Pixels along l and m."""
    cell_size_rad: float
    center: tuple[float, float] = (0.0, 0.0)
    """Direction cosines (l, m) of pixel ``n // 2`` from the phase centre of the field."""
    spectrum: SkyComponent
    """Its flux density along frequency."""


class SkyModel(Record):
    """What is known of a calibrator's brightness: the sum of components and of an image."""

    field: str
    components: tuple[SkyComponent, ...] = ()
    image: SkyImage | None = None
    origin: str


class Applicability(Record):
    """Data that a table corrects, and the fields whose solutions they are corrected with."""

    fields: tuple[str, ...] = ()
    """Fields to correct; empty = all."""
    windows: tuple[str, ...] = ()
    """Spectral windows to correct; empty = all."""
    intents: tuple[str, ...] = ()
    """Starts of intents, such as ``OBSERVE_TARGET``, one of which the data have to have; empty = whatever they have."""
    from_fields: tuple[str, ...]
    """Fields whose solutions are used."""

    def selects(self, partition: Partition) -> bool:
        """Return True if a partition of the data is selected."""
        return (
            (not self.fields or partition.field in self.fields)
            and (not self.windows or partition.window in self.windows)
            and (not self.intents or any(intent.startswith(self.intents) for intent in partition.intents))
        )

    def __str__(self) -> str:
        """Return it in words, for messages."""
        parts = {"field": self.fields, "window": self.windows, "intent": self.intents}
        return ", ".join(f"{name} {' '.join(words)}" for name, words in parts.items() if words) or "all data"


class CalibrationTable(Record):
    """A table of gain solutions, and what it applies to."""

    name: str
    kind: TableKind
    path: str
    window: str
    """Spectral window that the solutions come from."""
    solved_on: tuple[str, ...]
    """Fields that the solutions come from."""
    applies_to: tuple[Applicability, ...]
    reference_antenna: str
    scales_with_frequency: bool = False
    """True = the phases are those of a delay: at another frequency than that of the solutions they are larger by the
    ratio of the two."""
    state: Literal["pending", "applied"] = "pending"


class Correction(NamedTuple):
    """A table that applies to a partition, and the fields whose solutions it is corrected with."""

    table: CalibrationTable
    from_fields: tuple[str, ...]


class CalibrationState(Record):
    """All calibration tables, each one name once, and what they apply to."""

    tables: tuple[CalibrationTable, ...] = ()

    @property
    def pending(self) -> tuple[CalibrationTable, ...]:
        """Tables that no step has applied yet."""
        return tuple(table for table in self.tables if table.state == "pending")

    @property
    def applied(self) -> tuple[CalibrationTable, ...]:
        """Tables that were applied."""
        return tuple(table for table in self.tables if table.state == "applied")

    def table(self, name: str) -> CalibrationTable:
        """Return the table of that name.

        Raises
        ------
        ContextError
            There is none; lists those there are.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise ContextError(f"no calibration table {name!r}; there are: {_listing(self.tables)}")

    def corrections(self, partition: Partition) -> tuple[Correction, ...]:
        """Return the tables that apply to a partition, in the order in which they are applied; maybe none.

        Parameters
        ----------
        partition : Partition
            Of :meth:`radps.context.model.Context.visibilities`.
        """
        found = [
            Correction(table, one.from_fields)
            for table in self.tables
            for one in table.applies_to
            if one.selects(partition)
        ]
        return tuple(sorted(found, key=lambda one: _ORDER.index(one.table.kind)))

    def changed(
        self,
        *,
        remove: Sequence[str] = (),
        register: Sequence[CalibrationTable] = (),
        apply: Sequence[str] = (),
        partitions: Sequence[Partition] = (),
    ) -> Self:
        """Return the state after the changes of one step: all of them, or an error and none.

        Parameters
        ----------
        remove : sequence of str
            Names of tables to take out, first.
        register : sequence of CalibrationTable
            Tables to put in; one that has the name of a known table takes its place.
        apply : sequence of str
            Names of tables that are applied now, last.
        partitions : sequence of Partition
            The data.

        Raises
        ------
        ContextError
            A table to remove or to mark as applied is not there, a table is registered twice or selects no data, or two
            tables of one kind select the same data.
        """
        tables = {table.name: table for table in self.tables}
        _check_known(remove, tables, "remove")
        for name in remove:
            tables.pop(name)
        names = [table.name for table in register]
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ContextError(
                f"calibration tables {', '.join(twice)} are registered twice in one step; name them apart"
            )
        tables.update({table.name: table for table in register})
        if register:
            _check_selections(tables.values(), names, partitions)
        _check_known(apply, tables, "mark as applied")
        tables.update({name: tables[name].model_copy(update={"state": "applied"}) for name in apply})
        return self.model_copy(update={"tables": tuple(tables.values())})


def _check_known(names: Sequence[str], tables: dict[str, CalibrationTable], what: str) -> None:
    unknown = [name for name in names if name not in tables]
    if unknown:
        raise ContextError(
            f"no calibration table {', '.join(map(repr, unknown))} to {what}; there are: {_listing(tables.values())}"
        )


def _check_selections(tables: Iterable[CalibrationTable], new: Sequence[str], partitions: Sequence[Partition]) -> None:
    """Refuse new tables that select nothing, and two tables of a kind that correct the same data."""
    by_window: dict[str, list[Partition]] = {}
    for partition in partitions:
        by_window.setdefault(partition.window, []).append(partition)
    claimed: dict[tuple[str, str], tuple[str, int, Applicability]] = {}
    for table in tables:
        is_used = False
        for number, one in enumerate(table.applies_to):
            # Most tables name their window, so that this costs a look at each partition, not at each pair.
            for partition in (p for window in one.windows or by_window for p in by_window.get(window, ())):
                if not one.selects(partition):
                    continue
                is_used = True
                other, other_number, before = claimed.setdefault(
                    (table.kind, partition.name), (table.name, number, one)
                )
                if (other, other_number) != (table.name, number):
                    raise ContextError(
                        f"two corrections of kind {table.kind} for field {partition.field!r} in spectral window "
                        f"{partition.window!r}: table {other} ({before}) and table {table.name} ({one}); narrow "
                        "their selections, give the new table the name of the old one, or remove the old one"
                    )
        if table.name in new and not is_used:
            selections = "; ".join(map(str, table.applies_to)) or "nothing"
            raise ContextError(
                f"calibration table {table.name} applies to no data ({selections}); fields: "
                f"{', '.join(dict.fromkeys(p.field for p in partitions)) or 'none'}; spectral windows: "
                f"{', '.join(by_window) or 'none'}"
            )


def _listing(tables: Iterable[CalibrationTable]) -> str:
    return ", ".join(table.name for table in tables) or "none"
