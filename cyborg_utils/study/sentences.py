"""What a study found, in sentences: one function a question, from the tables of notebooks 00 to 06. Frames in, Markdown out.

Every number in a sentence is computed; a sentence says what the data show, also where that is not what the paper found.
"""

from __future__ import annotations

# ---------------------------------------------------------------- 00 overview


# ---------------------------------------------------------------- 01 the essays


# ---------------------------------------------------------------- 02 the Teacher


# ---------------------------------------------------------------- 03 synthetic scores


# ---------------------------------------------------------------- 04 Students


# ---------------------------------------------------------------- 05 do synthetic scores help?


# ---------------------------------------------------------------- 06 are groups of writers treated alike?
