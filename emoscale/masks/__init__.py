"""Which neurons to switch off: the most selective ones, and as many others as controls."""
