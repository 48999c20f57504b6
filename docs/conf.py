"""The site of the documentation: `nox -s docs` builds it into build/site, of the installed package."""

import sys
from pathlib import Path

from pycryo.version import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))
from pycryo_docs.names import types  # noqa: E402

project = "pycryo"
author = "The pycryo developers"
copyright = author
version = __version__.partition("+")[0].partition(".dev")[0]
release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "sphinx_copybutton", "pycryo_docs"]
exclude_patterns = ["_ext", "_build", "**.ipynb_checkpoints"]

# Pages are Markdown that reads well on GitHub, too.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_disable_syntax = ["myst_line_comment"]  # a line may begin with %
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

# Notebooks are run at each build, and an error in one ends it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True

# Docstrings are numpydoc; `name` in them is code, and a link if the name is on the site (pycryo_docs.names).
default_role = "py:obj"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autosummary_generate = False
maximum_signature_line_length = 88
numpydoc_show_class_members = False
numpydoc_xref_param_type = True
numpydoc_xref_aliases = types(HERE / "api")
numpydoc_xref_ignore = "all"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"pycryo {version}"
html_static_path = ["_static"]
html_css_files = ["pycryo.css"]
html_copy_source = False
html_show_copyright = False
html_math_renderer = "svg"
smartquotes = False
toc_object_entries_show_parents = "hide"
pygments_style = "friendly"
pygments_dark_style = "monokai"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
