"""A cluster of jobs of the batch system Slurm, by way of dask-jobqueue (extra ``slurm``).

===========  =================================================================================================
``model``    what the config says under ``cluster``, and what dask-jobqueue is told then: no queue is needed
``opening``  the cluster for a run: the queue is asked, jobs are submitted, waited for, and cancelled at the end
===========  =================================================================================================
"""
