"""Which steps, in what order; run them, commit each to the context."""
