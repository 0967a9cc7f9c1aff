#!/usr/bin/python3
"""A tree that only the container changes: what it learns of names in advance must stay true while it changes them."""

import os
import pathlib
import shutil
import subprocess
import unittest

import bundle

FILES = 400

# Looks names up in an order of its own, so that some are known in advance and some are not, and changes them in
# between. Everything is printed that a stale answer would make differ.
SCRIPT = r"""
cd "$1" || exit 1
say() { for name; do
  if [ -L "$name" ]; then echo "$name -> $(readlink "$name") $(cat "$name" 2>/dev/null)"
  elif [ -d "$name" ]; then echo "$name/ $(ls "$name" | wc -l)"
  elif [ -e "$name" ]; then echo "$name $(stat -c '%a %s %h %F' "$name") $(cat "$name")"
  else echo "$name is absent"; fi
done; }
# Looks up more absent names than are kept, so that all others are forgotten.
forget() { i=0; while [ $i -lt 40000 ]; do [ -e ../empty/absent$i ]; i=$((i + 1)); done; }
cd many
say f7 f300 f12 f399
rm f5; say f5
echo changed >f6; say f6
mv f8 g8; say f8 g8
mv f9 f10; say f9 f10
ln f20 hard; echo longer than it was >>f20; say hard f20
chmod 600 f21; say f21
rm f22; mkdir f22; say f22; rmdir f22; echo again >f22; say f22
i=0; while [ $i -lt 400 ]; do say f$i; i=$((i + 3)); done
ls | wc -l
i=0; while [ $i -lt 400 ]; do rm -f f$i; echo $i >n$i; i=$((i + 2)); done
forget
say f0 f2 f398 n0 n398 f1 f399 missing
ls | sort | md5sum
cd ..
say twins/p twins/q twins/r twins/s twins/a; echo more >>twins/a; cd twins; forget; cd ..; say twins/b twins/c; rm twins/a; say twins/a twins/b twins/c
for name in links/*; do say $name; done
mv many renamed; say many renamed renamed/f1 renamed/f3 renamed/n4
find . | sort | while read -r name; do stat -c '%n %f %s %h' "$name" | sed 's/ 4[01]ed .*/ d/'; done | md5sum
rm -r renamed; say renamed; ls
"""


def fill(tree):
    (tree / "many").mkdir(parents=True)
    for i in range(FILES):
        (tree / "many" / f"f{i}").write_text("x" * (i % 7) + f" {i}\n")
    (tree / "empty").mkdir()
    (tree / "twins").mkdir()
    (tree / "twins" / "a").write_text("twin\n")
    for name in "bcdefgh":
        os.link(tree / "twins" / "a", tree / "twins" / name)
    (tree / "links").mkdir()
    for i in range(12):
        os.symlink(f"../many/f{i}", tree / "links" / f"l{i}")


class Tree(unittest.TestCase):
    def test_agrees_with_a_native_run(self):
        box = bundle.Bundle()
        self.addCleanup(box.remove)
        native = box.folder / "native"
        fill(native)
        fill(box.rootfs / "tree")
        (box.rootfs / "script").write_text(SCRIPT)
        expected = subprocess.run(["busybox", "sh", "-c", SCRIPT, "sh", str(native)], capture_output=True, text=True,
                                  check=True, env={"PATH": str(box.rootfs / "bin")})
        box.config["process"]["args"] = ["sh", "/script", "/tree"]
        box.save()
        found = box.command("run", "--bundle", box.folder, "tree")
        self.assertEqual(found.stderr, "")
        self.assertEqual(found.stdout, expected.stdout)
        self.assertEqual(found.returncode, 0)
        names = lambda tree: sorted(str(path.relative_to(tree)) for path in pathlib.Path(tree).rglob("*"))
        self.assertEqual(names(box.rootfs / "tree"), names(native))


if __name__ == "__main__":
    unittest.main()
