"""The statistics of a run: what switching neurons off did, where selective neurons are, and how people compare."""
