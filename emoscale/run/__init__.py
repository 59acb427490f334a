"""A run on disk: its folder, its manifest, its lock, and whether it is the run that is asked for."""
