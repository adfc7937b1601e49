"""What `mirubato doctor` finds: what it looked at, how that is, and what to do about it."""

from dataclasses import dataclass

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; only what is not ok has a fix."""

    check: str
    status: str
    message: str
    fix: str = ""


def ok(check: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding(check, OK, message)


def warning(check: str, message: str, fix: str) -> Finding:
    """It works, and something about it should be known."""
    return Finding(check, WARNING, message, fix)


def problem(check: str, message: str, fix: str) -> Finding:
    """It does not work, or will not for long."""
    return Finding(check, PROBLEM, message, fix)
