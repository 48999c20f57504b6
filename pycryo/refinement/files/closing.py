"""What is made of a finished run's files: sharpened maps and the page; neither's failure is that of the run."""

from __future__ import annotations

import logging
from pathlib import Path

from pycryo.errors import RunError
from pycryo.memory import without_collections

log = logging.getLogger(__name__)


def sharpen(folder: Path) -> None:
    """The sharpened map of each class, beside the final one. One rank.

    Raises
    ------
    RunError
        If a file cannot be written.
    """
    try:
        with without_collections():
            from pycryo.refinement.files.postprocessed import postprocess_run

            postprocess_run(folder)
    except RunError:
        raise
    except Exception as error:
        log.warning("no sharpened map (%s: %s); try `pycryo postprocess`", type(error).__name__, error)


def report(folder: Path) -> None:
    """The run's report.html. One rank.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    try:
        with without_collections():
            from pycryo.report.page import build_report

            log.info("report: %s", build_report(folder))
    except RunError:
        raise
    except Exception as error:
        log.warning("the report could not be made (%s: %s); try `pycryo report`", type(error).__name__, error)
