"""From settings to finished stages."""
