"""How Sphinx builds the documentation: without a network, and with every warning an error (make docs)."""

import sys
from pathlib import Path

from emoscale import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "emoscale"
author = "the emoscale developers"
release = version = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "sphinx_design", "reference"]
autodoc_typehints = "none"  # the sections of the docstrings have types in words
default_role = "py:obj"  # `load` in a docstring is a link
napoleon_google_docstring = False
napoleon_use_ivar = False
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "emoscale"
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_output_stderr = "remove"  # bars of progress, and that there are none
