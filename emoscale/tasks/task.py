"""What an inference task is: questions with a right answer, and how strongly the model speaks for each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor


class Task(Protocol):
    """Questions put to a model, whose neurons may be edited meanwhile.

    Attributes
    ----------
    questions : DataFrame
        One row a question: ``concept`` and ``replicate`` (str), ``label`` (int, the number of the right answer),
        ``tokens`` (int, length of the row that the model reads). Questions of one concept and replicate stand together.
    options : sequence of str
        What can be answered.
    divisors : mapping of str to ndarray, float64, shape (options,)
        Ways of scoring: the answer is the option whose score, divided by this, is highest. The first one counts as
        *the* answer.
    """

    questions: pd.DataFrame
    options: Sequence[str]
    divisors: Mapping[str, NDArray[np.float64]]

    def scores(self, questions: NDArray[np.int64]) -> Tensor:
        """Score every option of some questions.

        Parameters
        ----------
        questions : ndarray of int64, shape (rows,)
            Numbers of questions; one may be there several times, to be answered with other neurons edited. Every
            forward pass made here must have one row for each, in this order.

        Returns
        -------
        Tensor
            Shape (rows, options), float32, on the model's device.
        """
