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
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # of a cell: the machine may be busy
nb_execution_in_temp = True
nb_merge_streams = True
nb_output_stderr = "remove"  # bars of progress, and that there are none
html_theme_options = {
    "navigation_with_keys": True,
    "navbar_center": [],  # the sidebar lists all pages
    "show_toc_level": 2,
    "show_nav_level": 1,
}
# The theme's own list begins below the header's sections, and so is empty where these have no pages below them.
html_sidebars = {"**": ["pages"]}
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["pages.css"]
