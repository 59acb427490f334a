"""What the model is asked about: concepts, people's scores of them on attributes, people's dissimilarities."""

from emoscale.concepts.loading import Concepts, load_concepts

__all__ = ["Concepts", "load_concepts"]
