"""Sphinx configuration; `make docs` builds with warnings as errors and without the network."""

import re
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
napoleon_use_rtype = False

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


# Nobody calls these; the methods that give them are documented.
_MADE_BY_METHODS = {
    f"modelversion.{name}" for name in ("Call", "Directory", "Model", "Version", "Versions")
}


def _readable(app, what, name, obj, options, signature, returns):
    """Leave out how a class is made where nobody makes one, and what attrs writes for defaults."""
    if name in _MADE_BY_METHODS:
        return "", returns
    if what == "class" and signature:
        signature = re.sub(r"attr_dict\[\S+?\]\.default", "...", signature)
        return re.sub(r", extra: .*?NOTHING", "", signature).replace("NOTHING", "..."), returns
    return None


def setup(app):
    """Connect what stands above; napoleon runs at 500."""
    app.connect("autodoc-process-docstring", _whole_first_line, priority=100)
    app.connect("autodoc-process-signature", _readable)
