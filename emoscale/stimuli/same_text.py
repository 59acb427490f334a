"""When two rows of a table hold the same text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from emoscale.names import visible

_BYTES = 8


def identify(texts: Iterable[Any]) -> NDArray[np.uint64]:
    """Return a number for each text, equal for texts that a reader would take for one.

    Parameters
    ----------
    texts : iterable of str
        Capitals count; spaces, invisible characters and the Unicode form do not, see `emoscale.names.visible`.

    Returns
    -------
    ndarray of uint64, shape (texts,)
        The first 64 bits of a hash: that two of a hundred million different texts share one is less likely than 1 in
        3000.

    Examples
    --------
    >>> one, same, other = identify(["so glad", " so\\u00a0 glad ", "So glad"]).tolist()
    >>> one == same, one == other
    (True, False)
    """
    digests = (hashlib.blake2b(_encoded(text), digest_size=_BYTES).digest() for text in texts)
    return np.frombuffer(b"".join(digests), np.uint64)


def is_repeated(texts: pd.DataFrame, identities: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Tell the rows of the train split whose text is held out too.

    Parameters
    ----------
    texts : DataFrame
        With the column `split`.
    identities : ndarray of uint64, shape (rows,)
        Of their texts, see `identify`.
    """
    split = texts["split"].to_numpy(object)
    repeated: NDArray[np.bool_] = (split == "train") & np.isin(identities, identities[split == "dev"])
    return repeated


def _encoded(text: Any) -> bytes:
    # What is no text, or holds half a character, is refused elsewhere.
    return visible(str(text)).encode(errors="replace")
