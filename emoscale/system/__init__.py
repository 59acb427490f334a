"""What every part stands on and the machine provides: ranks, files, progress, signals."""
