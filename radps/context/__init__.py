"""What a run knows: the pydantic model, queries of it, selection, provenance, fingerprints."""
