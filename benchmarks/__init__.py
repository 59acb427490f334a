"""One script a question. Each prints a table and takes `--json FILE`."""
