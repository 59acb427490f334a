"""Paired outcomes with chosen mean drops, for the tests of what is computed from them."""

import numpy as np
import pandas as pd


def pairs_of(drops, concepts, attributes, control="random", replicates=2, seed=0):
    """From k -> drops (C, A), the mean over replicates; NaN leaves the pairs out."""
    rng = np.random.default_rng(seed)
    rows = []
    for k, table in drops.items():
        for c, concept in enumerate(concepts):
            for a, attribute in enumerate(attributes):
                noise = rng.normal(size=replicates) * 0.1
                for r, value in enumerate(-table[c, a] + noise - noise.mean()):
                    rows.append((control, k, attribute, concept, str(r), value))
    columns = ["control", "k", "attribute", "concept", "replicate", "d"]
    table = pd.DataFrame(rows, columns=columns).dropna(ignore_index=True)
    return table.assign(accuracy_d=table["d"])
