#!/usr/bin/env python3
"""CPU times on the trap platform: a thread's are its own, and waiting for an answer is nobody's.

cpu_times.py BULKHEAD [BULKHEAD-DO-ARGS...]    without arguments: the program that is run, natively or inside
"""
import os
import subprocess
import sys
import threading
import time

WORK = 0.3


def work():
    while time.thread_time() < WORK:
        pass


def thread_times():
    mine, everyone = time.thread_time(), time.process_time()
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    mine, everyone = time.thread_time() - mine, time.process_time() - everyone
    assert mine < WORK / 2, f'the thread that waited has {mine:.3f} s'
    assert everyone >= WORK, f'both together have {everyone:.3f} s, and one that has ended had {WORK}'


def calls():
    """Many calls that do nothing: most of the time is the calls', not the program's."""
    user, began = os.times().user, time.monotonic()
    with open('/dev/zero', 'rb', buffering=0) as zero:
        for _ in range(20_000):
            zero.read(1)
    user, took = os.times().user - user, time.monotonic() - began
    assert user < took * 0.8, f'{user:.3f} s of user time in {took:.3f} s'


def main():
    if len(sys.argv) == 1:
        thread_times()
        calls()
        return
    program = ['/usr/bin/python3', os.path.abspath(__file__)]
    subprocess.run(program, check=True)
    subprocess.run([os.path.abspath(sys.argv[1]), 'do', *sys.argv[2:], '--', *program], check=True,
                   cwd=os.path.dirname(program[1]))
    print('ok')


main()
