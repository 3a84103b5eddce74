"""A cluster on Kubernetes, by way of Dask's operator: it turns the ``DaskCluster`` object of a run into pods.

==============  =================================================================================================
``model``       what the config says under ``cluster``
``objects``     that as objects of Kubernetes, as plain data
``driver``      the driver of a run as a Job, for `kubectl apply`
``problems``    why pods do not start, in words
``api``         the calls of Kubernetes' API that a driver makes
``opening``     a cluster for a run: made, watched until it is there, reached, and deleted
==============  =================================================================================================
"""
