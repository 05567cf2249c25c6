"""Compares our verdicts on regular expressions with RE2's own.

    verdicts.py compare EXAMPLE [COUNT [SEED]]   generates expressions and asks both; exit 1 if they differ
    verdicts.py corpus [COUNT [SEED]]            writes expressions with RE2's verdicts, as config/cases/re2.txt has them

EXAMPLE is the built example `re2` of lateen-config. A verdict is the size of the program, the number of groups,
or `refused`, by RE2 itself or because the program is larger than Envoy is told to allow.
"""

import random
import subprocess
import sys

import re2

PROGRAM_MAX = 32768
LENGTH_MAX = 60
OPTIONS = re2.Options()
OPTIONS.log_errors = False

ATOMS = [
    *"abcxyzABCkKsS019_-/ :@,;%#é\u212a\u03c3ß漢😀\n\t",
    *". ^ $ \\A \\z \\Z \\b \\B \\C \\d \\D \\s \\S \\w \\W \\n \\t \\. \\/ \\- \\_ \\é \\8 \\0 \\07 \\012 \\1 \\12".split(),
    *"\\x41 \\x4 \\x \\x{41} \\x{1F600} \\x{110000} \\x{} \\x{d800} \\x{0000000041} \\u00e9 \\h \\R \\K \\G \\e \\cA \\N".split(),
    *"\\pL \\PL \\p{Lu} \\P{Lu} \\p{^Lu} \\p{Greek} \\p{Han} \\p{Any} \\P{Any} \\p{Foo} \\p{lu} \\p{L \\p \\pé \\pN \\p{Cs} \\p{C}".split(),
    *"[a-z] [^a-z] [abc] [^abc] []a] [^]a] [a-] [-a] [a-c-e] [z-a] [a\\-z] [\\d\\w] [^\\D] [[:alpha:]] [[:^alpha:]]".split(),
    *"[[:word:]] [[:foo:]] [[:alpha:] [:alpha:] [[.a.]] [\\pL\\d] [^\\pL] [\\b] [\\A] [\\x{0}-\\x{10FFFF}] [Aa] [kK] [.]".split(),
    *"[^\\x00-\\x{10FFFF}] [é-漢] [a&&b] [[a]b] [^\\n] [\\s\\S] [^/]+ [^/] [0-9]{3} [a-\\d] [\\Q] [à-ÿ] [^é] [\u0400-\u04ff]".split(),
    *"\\Qa.b\\E \\Q\\E \\Q*+ abc abd api v1 foo bar foobar".split(),
    *"{ } {} {,2} {2 {a} {1,2,3} ] [ ( ) | * + ? \\ *? ++ ?? (?".split(),
]
OPENINGS = [
    *["("] * 4,
    *["(?:"] * 4,
    *"(?i: (?i) (?s) (?s: (?m) (?m: (?U) (?U: (?-i) (?-s: (?i-s: (?is-mU) (?i-) (?-) (?) (?-i-s) (?x) (?i-u) (?R) (?u:".split(),
    *"(?P<a> (?<a> (?P<b1> (?<a-b> (?P<> (?P<a (?<é> (?'a' (?P=a) (?P>a) (?= (?! (?<= (?<! (?> (?| (?# (?1) (?&a) (?^:".split(),
]
REPEATS = [
    *["*", "+", "?"] * 4,
    *"*? +? ?? ** *+ ++ ?+ {2} {3}? {0} {0,0} {1} {0,1} {1,} {2,} {2,5} {5,2} {10} {100} {1000} {1001} {999,1000} {03}".split(),
    *"{2}{3} {2}* {1000000000} {12345678901} {0,1000} {31} {32} {33}".split(),
]


PLAIN_OPENINGS = OPENINGS[:8] + "(?i: (?s: (?m: (?U: (?i) (?P<a> (?<b>".split()


def accepted(text):
    """Does RE2 take the expression?"""
    return verdict(text) != "refused"


def expression(rng, depth):
    """An expression that is well formed more often than not."""
    parts = []
    for _ in range(rng.choice([1, 1, 2, 2, 3, 4, 6])):
        kind = rng.random()
        if kind < 0.2 and depth > 0:
            part = rng.choice(OPENINGS if rng.random() < 0.2 else PLAIN_OPENINGS) + expression(rng, depth - 1)
            if rng.random() < 0.95:
                part += ")"
        elif kind < 0.35 and depth > 0:
            # Alternatives with something in common are what factoring is about.
            common = rng.choice(["", "", "a", "ab", "[a-c]", "\\d{2}", "^", "(?i)k", "x*", "\\pL"])
            ends = [common + expression(rng, depth - 1) for _ in range(rng.randint(2, 5))]
            part = rng.choice(["(?:", "(", "(?i:"]) + "|".join(ends) + ")"
        else:
            pool = ATOMS if rng.random() < 0.15 else GOOD
            part = rng.choice(pool)
        if rng.random() < 0.3:
            part += rng.choice(REPEATS if rng.random() < 0.2 else REPEATS[:12])
        parts.append(part)
    return "".join(parts)


def large(rng):
    """An expression whose program is near a limit."""
    class_ = rng.choice([".", "[^/]", "\\pL", "\\PL", "[^a-z]", "[é-漢]", "(?i)k", "(?:\\pN|é)", "\\p{Han}", "(?s).", "(?:ab|ac)", "(.)", "(?:a||||||||b)", "(?:a|" + "|" * rng.randint(1, 200) + "b)", "(?:)", "(?:x|[^\\x00-\\x{10FFFF}])"])
    times = rng.randint(1, 1000)
    one = f"{class_}{{{times}}}" if rng.random() < 0.6 else f"(?:{class_}{{0,{times}}}x)"
    return rng.choice(["", "^", "^a", "a|"]) + one * rng.randint(1, 40) + rng.choice(["", "$", "\\C*"])


def mutated(rng, text):
    """The expression with a few characters added, removed or doubled."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(text))
        text = rng.choice([text[:at] + text[at + 1 :], text[:at] + rng.choice("()[]{}*+?|\\^$-:,.<>pPQEx0k") + text[at:], text[:at] + text[max(0, at - 3) :]])
    return text


def generate(count, seed):
    """As many different expressions, always the same for a seed."""
    rng, texts = random.Random(seed), {}
    while len(texts) < count:
        text = large(rng) if len(texts) % 200 == 0 else expression(rng, 3)
        texts[mutated(rng, text) if rng.random() < 0.2 else text] = None
    return list(texts)


def verdict(text):
    """What RE2 says."""
    try:
        compiled = re2.compile(text, OPTIONS)
    except re2.error:
        return "refused"
    size = compiled.programsize
    return f"{size} {compiled.groups}" if size <= PROGRAM_MAX else "refused"


# On both sides of RE2's bound of memory, which holds before a program is flattened.
EDGES = [*("a" + "|" * n for n in (349495, 349496)), *("(?:)" * n for n in (698992, 698993)), *("(?:" + "(?:a||||||||b)" * n + "){1000}" for n in range(1, 12))]

GOOD = [atom for atom in ATOMS if accepted(atom)]


def main():
    mode, *rest = sys.argv[1:]
    example = rest.pop(0) if mode == "compare" else None
    count = int(rest[0]) if rest else 10000
    seed = int(rest[1]) if len(rest) > 1 else 9
    texts = generate(count, seed)
    if example is None:
        for text in texts:
            # Long ones are for comparing only.
            if len(text) <= LENGTH_MAX:
                print(text.encode().hex(), verdict(text))
        return
    texts = texts + EDGES
    lines = "".join(text.encode().hex() + "\n" for text in texts)
    answer = subprocess.run([example], input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    verdicts, sizes, accepted = [], [], 0
    for text, ours in zip(texts, answer, strict=True):
        theirs = verdict(text)
        accepted += theirs != "refused"
        if (theirs == "refused") != (not ours[0].isdigit()):
            verdicts.append((text, theirs, ours))
        elif theirs != "refused" and theirs != ours:
            sizes.append((text, theirs, ours))
    for text, theirs, ours in (verdicts + sizes)[:40]:
        print(f"{text!r}: RE2 says {theirs}, we say {ours}")
    print(f"{len(texts)} expressions, {accepted} accepted by RE2: {len(verdicts)} verdicts differ, {len(sizes)} sizes differ")
    sys.exit(1 if verdicts or sizes else 0)


main()
