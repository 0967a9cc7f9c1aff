#!/usr/bin/python3
"""A program whose standard streams are a terminal, all of them or some, natively and in a sandbox.

   terminal.py BULKHEAD [BULKHEAD-DO-ARGS...]
"""
import fcntl
import itertools
import os
import pty
import select
import struct
import sys
import termios

sandbox = [os.path.realpath(sys.argv[1]), "do", *sys.argv[2:], "--"]
failures = 0


def check(what, expected, got):
    global failures
    if expected != got:
        failures += 1
        print(f"FAIL: {what}:\n  expected {expected!r}\n  got      {got!r}")


class OnTerminal:
    """A program in a session of its own, whose terminal is ours; `streams` names those that are the terminal."""

    def __init__(self, command, streams):
        self.master, terminal = pty.openpty()
        self.resize(33, 77)
        self.before = termios.tcgetattr(terminal)
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
            null = os.open("/dev/null", os.O_RDONLY)
            for number, other in ((0, null), (1, write_end), (2, write_end)):
                os.dup2(terminal if number in streams else other, number)
            os.closerange(3, 256)
            os.execv(command[0], command)
        os.close(write_end)
        os.close(terminal)
        self.pipe = read_end
        self.came = b""
        self.sources = [self.master, self.pipe]

    @property
    def text(self):
        return self.came.replace(b"\r", b"")

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def settings(self):
        return termios.tcgetattr(self.master)

    def read_some(self):
        """Takes what has come from either side; False at the end of both."""
        ready, _, _ = select.select(self.sources, [], [], 60)
        assert ready, f"nothing came after {self.text!r}"
        for fd in ready:
            try:
                got = os.read(fd, 65536)
            except OSError:  # EIO: nobody has the terminal any more
                got = b""
            self.came += got
            if not got:
                self.sources.remove(fd)
        return bool(self.sources)

    def shows(self, words):
        """To the end of the line, before a Ctrl-C: that drops what the terminal has not shown yet."""
        while words not in self.text and self.read_some():
            pass
        return words in self.text

    def end(self):
        while self.read_some():
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self.master)
        os.close(self.pipe)
        return os.waitstatus_to_exitcode(status), self.text.decode()


python = "/usr/bin/python3"
ABOUT = """
import os
for fd in range(3):
    if os.isatty(fd): print(fd, "is a terminal of", *os.get_terminal_size(fd), flush=True)
    else: print(fd, "is none", flush=True)
"""
for count in range(4):
    for streams in itertools.combinations(range(3), count):
        natively = OnTerminal([python, "-c", ABOUT], streams).end()
        inside = OnTerminal([*sandbox, python, "-c", ABOUT], streams).end()
        check(f"terminals {streams}", natively, inside)

# Colours, for the most usual question.
for streams in ((0, 1, 2), (1,), (0,)):
    ls = ["/bin/ls", "-d", "--color=auto", "/usr"]
    check(f"ls with terminals {streams}", OnTerminal(ls, streams).end(), OnTerminal([*sandbox, *ls], streams).end())

# A terminal that is shared in a pipeline keeps its settings; trying to change them says so.
shared = OnTerminal([*sandbox, "/bin/sh", "-c", "stty -echo 2>&1; stty size; echo ready; read line; echo got $line"], (0,))
check("ready", True, shared.shows(b"ready\n"))
check("settings while it runs", shared.before, shared.settings())
os.write(shared.master, b"words\n")
status, text = shared.end()
check("the shared terminal's status", 0, status)
check("the shared terminal", ["got words", "ready", "stty: 'standard input': Input/output error", "words", "33 77"],
      sorted(text.splitlines(), key=lambda line: (line[0].isdigit(), line)))

# Changes of the window's size, and Ctrl-C from the terminal, reach a program in a pipeline.
WINDOW = """
import os, signal
def say(*words): os.write(1, (" ".join(map(str, words)) + chr(10)).encode())
signal.signal(signal.SIGINT, lambda *_: (say("interrupted"), os._exit(7)))
signal.signal(signal.SIGWINCH, lambda *_: say("size", *os.get_terminal_size(0)))
came, tell = os.pipe()  # pause(2) would sleep over a signal that comes just before it
os.set_blocking(tell, False)
signal.set_wakeup_fd(tell)
say("ready")
while True: os.read(came, 1)
"""
for streams in ((0,), (0, 1, 2)):
    for name, command in (("natively", []), ("inside", sandbox)):
        program = OnTerminal([*command, python, "-c", WINDOW], streams)
        check(f"{name} {streams} ready", True, program.shows(b"ready\n"))
        program.resize(50, 132)
        check(f"{name} {streams} resized", True, program.shows(b"size 132 50\n"))
        os.write(program.master, b"\x03")
        check(f"{name} {streams} interrupted", True, program.shows(b"interrupted"))
        check(f"{name} {streams} status", 7, program.end()[0])



def without_echo(result):
    """The end of a job by Ctrl-C. Linux sends the signal first: the end hangs the terminal up, maybe before the ^C is shown."""
    return result[0], result[1].replace("^C", "")


# Ctrl-C is for the whole job: a shell's script or loop ends with the program, or runs its trap.
SLEEP = "echo ready; exec sleep 100"
LOOP = 'for i in 1 2 3; do {} /bin/sh -c "{}" {}; echo "status $?"; done; echo END'
TRAPPED = """trap 'echo trapped; exit 4' INT; {} /usr/bin/python3 -c '
import os, signal
signal.signal(signal.SIGINT, lambda *_: os._exit(9))
came, tell = os.pipe()
os.set_blocking(tell, False)
signal.set_wakeup_fd(tell)
os.write(1, b"ready" + bytes([10]))
while True: os.read(came, 1)'; echo "went on $?" """
for rest in ("", "</dev/null", "| cat"):
    results = []
    for command in ("", " ".join(sandbox)):
        script = OnTerminal(["/bin/bash", "-c", LOOP.format(command, SLEEP, rest)], (0, 1, 2))
        check(f"loop {rest} ready", True, script.shows(b"ready\n"))
        os.write(script.master, b"\x03")
        results.append(without_echo(script.end()))
    check(f"Ctrl-C in a loop {rest}", *results)
results = []
for command in ("", " ".join(sandbox)):
    script = OnTerminal(["/bin/bash", "-c", TRAPPED.format(command)], (0, 1, 2))
    check("trap ready", True, script.shows(b"ready\n"))
    os.write(script.master, b"\x03")
    results.append(without_echo(script.end()))
check("Ctrl-C and a trap", *results)

# A program that reads the keyboard at the end of a pipeline, as a pager does, and one that asks for a password.
PAGER = """
import sys, termios, tty
lines = sys.stdin.read().split()
with open("/dev/tty", "rb", buffering=0) as keys:
    tty.setraw(keys)
    print(len(lines), "lines", flush=True)
    print("key", keys.read(1), flush=True)
"""
PASSWORD = "import getpass; print('got', getpass.getpass('Password: '))"
for name, source, prompt, keys in (("pager", PAGER, b"lines", b"q"), ("password", PASSWORD, b"Password: ", b"secret\n")):
    results = []
    for command in ("", " ".join(sandbox)):
        script = OnTerminal(["/bin/sh", "-c", f'seq 5 | {command} /usr/bin/python3 -c "$0"', source], (0, 1, 2))
        check(f"{name} ready", True, script.shows(prompt))
        os.write(script.master, keys)
        results.append(script.end())
    check(name, *results)

sys.exit(1 if failures else 0)
