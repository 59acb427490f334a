"""One script for each question. Each prints a table and takes `--json FILE`."""
