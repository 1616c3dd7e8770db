"""Sphinx's settings; tools/build_docs.py stages the pages and builds them."""

project = "sdpn"
author = "the authors of sdpn"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "sdpn"
exclude_patterns = ["**/.ipynb_checkpoints"]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# short names in signatures, where an alias stands for a union of many types
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Audio": "Audio", "Channel": "Channel"}
autodoc_default_options = {"members": True, "show-inheritance": False}
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]
nb_execution_mode = "force"  # the notebook runs in CI
nb_execution_raise_on_error = True
nb_execution_timeout = 300
suppress_warnings = ["myst.header"]
