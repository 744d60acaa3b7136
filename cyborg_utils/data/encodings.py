"""The encoding of a text file: found out, or asked for where the file does not tell; never a guess that garbles words."""

from __future__ import annotations

import codecs
import re
import unicodedata
from pathlib import Path

import charset_normalizer

from cyborg_utils.core import paths
from cyborg_utils.core.errors import CyborgError

BYTE_ORDER_MARKS = {  # longest first: the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Surrogates: `surrogateescape` makes them from bytes that are not UTF-8, and JSON can spell them; no file can store them.
UNREADABLE = re.compile("[\ud800-\udfff]")
NO_BREAK = "\xa0"
TWICE = re.compile("[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")  # UTF-8, each byte a character
CONTROL = re.compile("[\x80-\x9f]")  # quotes and dashes of Windows-1252, read as Latin-1
NOT_ASCII = re.compile("[^\x00-\x7f]")
WESTERN = [  # letters beyond a-z of languages that Windows-1252 is for: French, Spanish, Portuguese, Italian, German, Nordic
    "àâæçéèêëîïôœùûüÿ",
    "áéíñóúüªº",
    "áàâãçéêíóôõúü",
    "àèéìíîòóù",
    "äöüßé",
    "åäöæøé",
]
RUN = re.compile(r"[^\W\d_a-zA-Z]{3,}")  # three letters beyond a-z in a row: a word of another script
SIGN_IN_WORD = re.compile(r"(?<=[^\W\d_])[^\x00-\x7f\w’‘´–—…·•\s](?=[^\W\d_])")  # as in `by³o`
LEAST_LETTERS = 30  # of another script than the Latin one, to tell its encoding
CLEARLY = 0.1  # more coherent (`charset_normalizer`, 0-1) than the second-best reading
MOST_DISORDER = 0.05  # as `charset_normalizer` measures it, 0-1
EVIDENCE = 1 << 18  # bytes of lines with other than ASCII characters that are looked at


def mended(text: str) -> str:
    """A text without what careless conversions left in it: UTF-8 that was read as Latin-1 (also twice), Windows-1252 quotes and
    dashes that became control characters, and no-break spaces, which become plain ones."""
    while (again := TWICE.sub(lambda hit: hit.group().encode("latin-1").decode("utf-8", "replace"), text)) != text:
        text = again
    text = CONTROL.sub(lambda hit: hit.group().encode("latin-1").decode("cp1252", "replace"), text)
    return text.replace(NO_BREAK, " ")


def encoding_of(path: Path) -> str:
    """Encoding of a text file: that of its byte order mark; else UTF-8; else as `_old` finds it.

    A file that is mostly valid UTF-8 is read as UTF-8 even if some bytes are broken: excluding those rows one by one loses less
    than misreading every accent. Raises CyborgError where broken bytes outnumber valid characters beyond ASCII and `_old` fails.
    """
    good = broken = 0
    with path.open("rb") as handle:
        start = handle.read(4)
        for mark, name in BYTE_ORDER_MARKS.items():
            if start.startswith(mark):
                return name
        if start[1::2] == b"\0\0" or start[::2] == b"\0\0":  # every other byte is zero
            return "utf-16-le" if start[1] == 0 else "utf-16-be"
        handle.seek(0)
        strict = codecs.getincrementaldecoder("utf-8")()
        try:
            while block := handle.read(1 << 20):
                strict.decode(block)
            strict.decode(b"", final=True)
            return "utf-8"
        except UnicodeDecodeError:
            handle.seek(0)
        lenient, evidence = codecs.getincrementaldecoder("utf-8")("surrogateescape"), b""
        while block := handle.read(1 << 20):
            text = lenient.decode(block)
            bad = len(UNREADABLE.findall(text))
            broken += bad
            good += len(NOT_ASCII.findall(text)) - bad
            if len(evidence) < EVIDENCE:
                evidence += b"\n".join(line for line in block.splitlines() if not line.isascii())[:EVIDENCE]
    return _old(evidence, path) if broken > good else "utf-8"


def _old(evidence: bytes, path: Path) -> str:
    """The encoding of these lines, which are not UTF-8: Windows-1252 where that gives a Western language, or that of a script.

    Bytes cannot tell the encodings of one script apart where words of many languages would be right (Windows-1250 and 1252);
    `charset_normalizer` is believed only where it finds another script than the Latin one. Raises CyborgError else.
    """
    if _western(evidence.decode("cp1252", "surrogateescape")):
        return "cp1252"
    words = b" ".join(word for word in evidence.split() if not word.isascii())  # the others are the same in all encodings
    readings = filter(_likely, charset_normalizer.from_bytes(words))
    likely = sorted(((match.coherence, match.encoding) for match in readings), reverse=True)
    if not likely or len(likely) > 1 and likely[0][0] < likely[1][0] + CLEARLY:
        raise CyborgError(
            f"{paths.shown(path)}: its encoding is not UTF-8, and cannot be told from its letters. Save it as UTF-8, or set "
            "`encoding`, such as cp1252 (Western Europe), cp1250 (Central Europe), cp1254 (Turkish), cp1251 (Cyrillic)."
        )
    return likely[0][1]


def _likely(match: charset_normalizer.CharsetMatch) -> bool:
    """Whether a reading of words is one of another script than the Latin one, without disorder, and not nearly all in capitals.

    (Words in KOI8-R, read as Windows-1251, are Cyrillic too, with capitals for small letters.)
    """
    letters = [sign for sign in NOT_ASCII.findall(str(match)) if sign.isalpha()]
    if len(letters) < LEAST_LETTERS or match.chaos > MOST_DISORDER:
        return False
    latin = sum(unicodedata.name(sign, "").startswith("LATIN") for sign in letters)
    return latin <= 0.1 * len(letters) and sum(map(str.isupper, letters)) <= 0.3 * len(letters)


def _western(text: str) -> bool:
    """Whether this is text of a language that Windows-1252 is for, or English with a few letters beyond a-z."""
    high = NOT_ASCII.findall(text)
    letters = [sign for sign in "".join(high).lower() if sign.isalpha()]
    odd = sum(map(len, RUN.findall(text))) + len(SIGN_IN_WORD.findall(text)) + len(UNREADABLE.findall(text))
    if odd > 0.05 * len(high):
        return False
    few = len(letters) <= 0.005 * len(text)
    return few or max(sum(sign in language for sign in letters) for language in WESTERN) >= 0.95 * len(letters)
