"""What the command line calls besides the stages: one module a command."""
