"""What the model is asked about: concepts, people's scores of them on attributes, people's dissimilarities."""
