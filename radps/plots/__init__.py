"""Plots: from arrays to matplotlib figures; they read nothing and write nothing."""
