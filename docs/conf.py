"""Sphinx configuration; `make docs` builds with warnings as errors and without the network."""

from importlib.metadata import version as installed_version

project = "modelversion"
author = "The modelversion authors"
project_copyright = "The modelversion authors"
release = installed_version("modelversion")
version = ".".join(release.split(".")[:2])

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "examples"]

html_theme = "furo"
html_title = "modelversion"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# What docstrings have in single backquotes is code.
default_role = "code"

autodoc_member_order = "groupwise"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Prompts are not part of what is copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Only the public names have a page to point at: other packages, type variables and the records
# behind the public names are shown as text.
nitpick_ignore_regex = [(r"py:.*", r"(?!modelversion\.(errors\.)?[A-Za-z]\w*$).*")]


def _whole_first_line(app, what, name, obj, options, lines):
    """Keep napoleon from reading a property's docstring up to a colon as a type."""
    if what == "property" and lines:
        lines[:0] = ["..", ""]  # an empty comment has no colon


def setup(app):
    """Tell Sphinx what runs before napoleon (at 500)."""
    app.connect("autodoc-process-docstring", _whole_first_line, priority=100)
