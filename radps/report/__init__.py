"""The report of a run: pages of HTML that open from disk, without a network."""
