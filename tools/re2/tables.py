"""Writes the Unicode classes and case orbits that RE2 has, found by asking RE2: tables.py GROUP... > unicode.txt

Each line is a name and the class's ranges as GAP+LENGTH in hexadecimal: GAP code points after the last range
follow LENGTH code points that are in the class. The lines named by a single code point are orbits of case folding.
"""

import sys

import re2

SURROGATES = range(0xD800, 0xE000)
POINTS = [p for p in range(0x110000) if p not in SURROGATES]
TEXT = "".join(map(chr, POINTS))


def ranges(pattern):
    """The ranges of code points that a class matches."""
    found = []
    for match in re2.finditer(pattern + "+", TEXT):
        lo, hi = ord(match.group()[0]), ord(match.group()[-1])
        if lo < SURROGATES.start and hi >= SURROGATES.stop:
            found += [(lo, SURROGATES.start - 1), (SURROGATES.stop, hi)]
        else:
            found.append((lo, hi))
    return found


def written(found):
    """The ranges as the file has them."""
    end, parts = 0, []
    for lo, hi in found:
        parts.append(f"{lo - end:x}+{hi - lo + 1:x}")
        end = hi + 1
    return " ".join(parts)


def main():
    names = sys.argv[1:]
    for name in sorted(names):
        found = ranges(rf"\p{{{name}}}")
        if name in ("C", "Cs"):
            found.append((SURROGATES.start, SURROGATES.stop - 1))
        found.sort()
        merged = []
        for lo, hi in found:
            if merged and merged[-1][1] + 1 == lo:
                merged[-1] = (merged[-1][0], hi)
            else:
                merged.append((lo, hi))
        print(name, written(merged))
    folding = {c for p in POINTS for c in (chr(p),) if c.lower() != c or c.upper() != c or c.casefold() != c}
    more = {x for c in folding for t in (c.lower(), c.upper(), c.title(), c.casefold()) if len(t) == 1 for x in t}
    candidates = "".join(sorted(folding | more))
    told = set()
    for c in sorted(candidates):
        orbit = re2.findall(rf"(?i)\x{{{ord(c):x}}}", candidates)
        if len(orbit) > 1 and c not in told:
            told.update(orbit)
            print(*(f"{ord(x):x}" for x in orbit), sep=",")


main()
