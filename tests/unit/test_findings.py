"""What checks find is collected, told once, and raised together."""

import logging

import pytest

from pycryo.errors import InputError
from pycryo.findings import Finding, Findings


def test_errors_are_raised_together_and_warnings_logged(caplog):
    findings = Findings()
    findings.raise_errors()
    findings.warn("a", "odd")
    findings.raise_errors()
    with findings.collect("b"):
        raise InputError("first")
    with pytest.raises(InputError, match=r"^first$"):
        findings.raise_errors()
    findings.error("c", "second")
    findings.error("c", "second")
    assert findings.items == [
        Finding("warning", "a", "odd"),
        Finding("error", "b", "first"),
        Finding("error", "c", "second"),
    ]
    assert [each.text for each in findings.warnings] == ["odd"]
    with pytest.raises(InputError, match=r"^2 errors in the input\n  1\. first\n  2\. second$"):
        findings.raise_errors()
    findings.log_warnings(logging.getLogger("pycryo"))
    assert caplog.messages == ["odd"]


def test_other_errors_are_not_collected():
    findings = Findings()
    with pytest.raises(KeyError), findings.collect("a"):
        raise KeyError
    assert not findings.items
