"""What the model reads: labelled texts, balanced samples of them, sentences that name a concept."""
