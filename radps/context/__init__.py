"""The state of a run: the pydantic model, its store, its history, fingerprints."""
