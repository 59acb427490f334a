"""Typed settings from YAML, every mistake reported at once."""

from emoscale.config.loading import load_settings, make_settings, settings_mapping, settings_yaml
from emoscale.config.schema import settings_schema
from emoscale.config.settings import Settings

__all__ = ["Settings", "load_settings", "make_settings", "settings_mapping", "settings_schema", "settings_yaml"]
