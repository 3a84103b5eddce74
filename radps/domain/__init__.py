"""The science on plain numpy arrays: no IO, no dask, no xarray, no pydantic."""
