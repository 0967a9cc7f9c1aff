#!/usr/bin/python3
"""Every call that the table says is complete names its test: checks tests/syscalls/coverage.txt, at each build.

coverage.py ROOT STAMP   checks, and touches STAMP
A line of coverage.txt is "CALL PROGRAM WORD": the program in tests/syscalls that tests the call, and the word (SYS_name,
or the C library's function) by which its source calls it.
"""
import glob
import os
import re
import sys


def code(text):
    """A source without its comments and #include lines."""
    return re.sub(r"//[^\n]*|/\*.*?\*/|^\s*#\s*include[^\n]*", "", text, flags=re.DOTALL | re.MULTILINE)


root, stamp = sys.argv[1:]
complete = set()
for path in glob.glob(os.path.join(root, "sentry", "syscalls", "*.cc")):
    with open(path, encoding="utf-8") as file:
        complete |= set(re.findall(r"^\s+COMPLETE\((\w+),", file.read(), re.MULTILINE))
tests = os.path.join(root, "tests", "syscalls")
problems, named = [], set()
with open(os.path.join(tests, "coverage.txt"), encoding="utf-8") as file:
    for number, line in enumerate(file, 1):
        fields = line.split("#", 1)[0].split()
        if not fields:
            continue
        if len(fields) != 3:
            problems.append(f"coverage.txt:{number}: expected CALL PROGRAM WORD")
            continue
        call, program, word = fields
        named.add(call)
        if call not in complete:
            problems.append(f"coverage.txt:{number}: the table does not say that {call} is complete")
        try:
            with open(os.path.join(tests, program + ".cc"), encoding="utf-8") as source:
                if not re.search(rf"\b{re.escape(word)}\b", code(source.read())):
                    problems.append(f"coverage.txt:{number}: {program}.cc does not call {word}")
        except FileNotFoundError:
            problems.append(f"coverage.txt:{number}: there is no {program}.cc")
problems += [f"{call} is complete in the table and has no test in coverage.txt" for call in sorted(complete - named)]
if problems:
    sys.exit("\n".join(problems))
with open(stamp, "w", encoding="utf-8"):
    pass
