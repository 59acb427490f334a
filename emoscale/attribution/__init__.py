"""Estimating what editing every single neuron would change."""
