"""What `import emoscale` offers in Python: from a model to activations, selectivity, ablation and figures.

Nothing is computed here that the stages of a run do not compute: each function hands over to their code.
"""
