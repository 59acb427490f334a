"""The published study again, from the files that its authors released (Li, Su et al. 2024)."""
