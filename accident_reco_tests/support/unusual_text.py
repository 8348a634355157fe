"""Text that a person or a program may send as a name, a token or an id, and that no account has."""

UNUSUAL_TEXT = [
    "",
    " ",
    "\u0000",
    "a\u0000b",
    "admin\u0000",
    "\u202e",
    "' OR '1'='1",
    "ADMIN\n",
    "\U0001f600" * 8,
    "\uff41dmin",
    "..",
    "%00",
    "a" * 64,
]
