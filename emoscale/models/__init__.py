"""Language models: loading them, finding their neurons, reading and masking them, prompting them."""
