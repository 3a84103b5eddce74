"""The stages: one file each, with its parameters and one plain function that builds graphs.

A file ``radps/stages/<name>.py`` is found by its name; see :mod:`radps.stages.base`.
"""
