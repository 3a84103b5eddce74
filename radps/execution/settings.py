"""What the models of all clusters have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

SMALLEST_WORKER_BYTES = 256 * 2**20
"""Below this a worker has no room for the libraries."""

WorkerResources = dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]]
"""What a worker offers, or a task asks for: name -> amount."""


class Settings(BaseModel):
    """A part of what the config says under ``cluster``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Adapt(Settings):
    """Workers come and go with the work."""

    minimum: int = Field(default=1, ge=1)
    """Workers that stay, also without work."""
    maximum: int = Field(ge=1)
    """Workers at most. There is always a limit: scaling without one loses work."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Adapt:
        if self.maximum < self.minimum:
            raise ValueError(f"adapt from {self.minimum} to {self.maximum} workers: maximum has to be at least minimum")
        return self
