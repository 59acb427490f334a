"""`python -m emoscale`, as launchers start it."""

from emoscale.cli import main

main()
