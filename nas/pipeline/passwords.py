"""Passwords in the URL of a database: used, and neither written nor printed."""

import re

HIDDEN = "***"
_IN_ADDRESS = re.compile(r"(\w://[^:/@\s'\"]*:)[^@\s]*(?=@)")
_IN_OPTIONS = re.compile(r"([?&][\w-]*(?:password|passwd|pwd|secret|token)[\w-]*=)[^&\s'\"]*", re.IGNORECASE)


def hide_passwords(text: str) -> str:
    """`text` with three stars in place of each password of a URL (``scheme://user:password@host?password=...``)."""
    return _IN_OPTIONS.sub(rf"\g<1>{HIDDEN}", _IN_ADDRESS.sub(rf"\g<1>{HIDDEN}", text))
