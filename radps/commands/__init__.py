"""The commands of `radps-run` that stand beside running, by subject; :mod:`radps.cli` puts them together."""
