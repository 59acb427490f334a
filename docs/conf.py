"""How Sphinx builds the documentation: without a network, and with every warning an error (make docs)."""

import logging

from emoscale import __version__

project = "emoscale"
author = "the emoscale developers"
release = version = __version__
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "emoscale"
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120

# The pattern for notebooks may match none; this warning has no type that suppress_warnings could name.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)
