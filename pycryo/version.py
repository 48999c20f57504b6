"""The version of pycryo."""

try:
    # Written by the build, from git's tags.
    from pycryo._version import __version__ as __version__
except ImportError:
    __version__ = "0+unknown"  # a source tree that nothing was built in

# The release that this version is, or is on the way to: all between two tags have the same.
RELEASE = __version__.partition("+")[0].partition(".dev")[0]
