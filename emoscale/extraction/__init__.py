"""Streaming neuron activations into a store, row block by row block."""
