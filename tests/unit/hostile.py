"""Names that people really give folders and that languages below us read as something else; and those we refuse."""

from __future__ import annotations

EVERYTHING = " x, y#z ;'%20 a@b\\c&d|e<f>[g]*(h)!~=+^ 日本 é e\u0301 "
USABLE = [
    EVERYTHING,
    "a b",
    " lead and trail ",
    "x, y",
    "a#b",
    "a ;#; b",
    "100%",
    "%(x)s %20",
    "it's",
    "'''",
    "a\\b",
    "a@b",
    "a&b|c<d>e",
    "[a]*(b)!~=+^",
    "-x",
    "~",
    "日本 é e\u0301 😀",
    "x" * 200,
]
REFUSED = ["a:b", "a?b", "a{b}", "$HOME", "`id`", 'a"b', "a\nb", "a\tb", "a\udcffb"]
