"""Training many soft prompts at once while the model stays frozen."""
