"""The texts that models read: labelled texts, balanced samples of them, and sentences that name a concept."""
