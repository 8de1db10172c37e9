"""The readings of a text: what a person or a model makes of it, whatever characters it is written with.

Guardrails look at each reading. Sources: Unicode normalisation (https://unicode.org/reports/tr15/), confusable
characters (https://unicode.org/reports/tr39/), smuggling by tag characters (https://unicode.org/charts/PDF/UE0000.pdf).
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata

# Letters of other scripts that look like Latin ones. Written as pairs: the letter, then its double.
_PAIRS = (
    "аaеeоoрpсcуyхxіiјjѕsһhԁdԛqԝwгrтtкkмmнhвbпnиuАaВbЕeКkМmНhОoРpСcТtУyХxІiЅs"
    "αaβbεeηnιiκkνvοoρpτtυuχxωwγyσoΑaΒbΕeΖzΗhΙiΚkΜmΝnΟoΡpΤtΥyΧxı" + "iɡgʟlɴnʀrꜱsᴀaᴄcᴅdᴇeᴊjᴋkᴍmᴏoᴘpᴛtᴜuᴠvᴡwᴢzøołlđdħhŧt"
)
_DOUBLES = {ord(_PAIRS[i]): _PAIRS[i + 1] for i in range(0, len(_PAIRS), 2)} | {
    ord("ß"): "ss",
    ord("æ"): "ae",
    ord("œ"): "oe",
    ord("’"): "'",
    ord("‘"): "'",
    ord("`"): "'",
    ord("´"): "'",
}
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−⁃"), "-")
_DIGITS_AS_LETTERS = str.maketrans("0134578@$!|", "oieastbasil")
_TAG_FIRST, _TAG_LAST, _TAG_OFFSET = 0xE0020, 0xE007E, 0xE0000
_MARKUP = re.compile(r"<!--|-->|</?[a-z][^<>]{0,40}>|[*_~`]{1,3}(?=\w)|(?<=\w)[*_~`]{1,3}")
_SPELT = re.compile(r"(?<!\w)[^\W\d]([ .,_*/|-])(?:[^\W\d]\1){0,200}[^\W\d](?!\w)")
_INSIDE = re.compile(r"(?<=[^\W\d_])[.·•_*~^|/+-](?=[^\W\d_])")
_MIXED = re.compile(r"\b(?=\w*[^\W\d_])[\w@$!|]*[\d@$!|][\w@$!|]*")
_BASE64 = re.compile(r"(?<![\w+/])[A-Za-z0-9+/_-]{16,20000}={0,2}(?![\w+/])")
_MOST_DECODED = 20


def plain(text: str) -> str:
    """The text in lower case and plain letters: entities read, invisible characters and accents gone, compatibility
    forms, look-alikes and white space made one. Lines stay lines."""
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", _folded(text)))


def _folded(text: str) -> str:
    text = html.unescape(html.unescape(text))
    text = "".join(chr(ord(c) - _TAG_OFFSET) if _TAG_FIRST <= ord(c) <= _TAG_LAST else c for c in text)
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text)).translate(_DASHES)
    return "".join(filter(_is_seen, text)).translate(_DOUBLES).casefold()


def readings(text: str) -> tuple[str, ...]:
    """`plain(text)`, and what differs from it: in one line, without markup and signs inside of words; with words joined
    that are spelt letter by letter; with digits read as letters; and what is decoded from base64."""
    bare = _MARKUP.sub("", _folded(text))
    line = " ".join(_INSIDE.sub("", bare).split())
    joined = " ".join(_INSIDE.sub("", _SPELT.sub(lambda m: m[0].replace(m[1], ""), bare)).split())
    found = dict.fromkeys((plain(text), line, joined))
    if _MIXED.search(line):
        found[line.translate(_DIGITS_AS_LETTERS)] = None
    for decoded in _decoded(text):
        found[plain(decoded)] = None
    return tuple(found)


def _is_seen(character: str) -> bool:
    """Whether a character stands for something by itself: no format, control or combining mark."""
    if character in "\n\t":
        return True
    return unicodedata.category(character) not in ("Cf", "Cc", "Cn", "Co", "Cs", "Mn", "Me")


def _decoded(text: str) -> list[str]:
    """Texts that stand in base64 in the text."""
    found = []
    for match in list(_BASE64.finditer(text))[:_MOST_DECODED]:
        raw = match[0].rstrip("=").replace("-", "+").replace("_", "/")
        try:
            decoded = base64.b64decode(raw + "=" * (-len(raw) % 4)).decode("utf-8")
        except (binascii.Error, ValueError):
            continue
        if decoded.isprintable() or "\n" in decoded:
            found.append(decoded)
    return found
