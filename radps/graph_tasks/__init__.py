"""The few graph shapes: map over chunks, tree reduction. Every call of dask.delayed stands here."""
