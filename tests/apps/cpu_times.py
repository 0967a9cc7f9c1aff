#!/usr/bin/env python3
"""CPU times on the trap platform: a thread's are its own, and waiting for an answer is nobody's.

cpu_times.py BULKHEAD [BULKHEAD-DO-ARGS...]
cpu_times.py --native | --inside                 the program that is run
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
    """Calls that do nothing, and cost more than what the program does between them: they are not its user time."""
    user, began, took = os.times().user, time.monotonic(), 0
    with open('/dev/zero', 'rb', buffering=0) as zero:
        while took < WORK:
            for _ in range(1000):
                zero.read(1)
            took = time.monotonic() - began
    user = os.times().user - user
    assert user < took * 0.8, f'{user:.3f} s of user time in {took:.3f} s'


def main():
    if sys.argv[1] in ('--native', '--inside'):
        thread_times()
        if sys.argv[1] == '--inside':
            calls()
        return
    program = ['/usr/bin/python3', os.path.abspath(__file__)]
    subprocess.run([*program, '--native'], check=True)
    subprocess.run([os.path.abspath(sys.argv[1]), 'do', *sys.argv[2:], '--', *program, '--inside'], check=True,
                   cwd=os.path.dirname(program[1]))
    print('ok')


main()
