"""How Sphinx builds the documentation: without a network, and with every warning an error (make docs)."""

import logging
import sys
from pathlib import Path

from emoscale import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "emoscale"
author = "the emoscale developers"
release = version = __version__
extensions = ["myst_nb", "sphinx_copybutton", "sphinx_design", "reference"]
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
html_theme_options = {
    "navigation_with_keys": True,
    "navbar_center": [],  # the sidebar lists all pages
    "show_toc_level": 2,
    "show_nav_level": 1,
}
# The theme's own list shows only what is below a page of the header, where there is nothing.
html_sidebars = {"**": ["pages"]}
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["pages.css"]

# The pattern for notebooks may match none; this warning has no type that suppress_warnings could name.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(
    lambda record: getattr(record, "subtype", None) != "empty_glob"
)
