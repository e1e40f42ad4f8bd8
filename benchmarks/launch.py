"""Runs one program and writes what it took as JSON: launch.py RESULT PROGRAM ARGUMENT...

A process of its own, since the kernel counts the peak memory of whoever starts a program as that
program's: this one has imported next to nothing and stays below 10 MiB.
"""

import os
import sys
import time


def main() -> None:
    result, argv = sys.argv[1], sys.argv[2:]
    begin = time.perf_counter()
    process = os.posix_spawnp(argv[0], argv, os.environ)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - begin
    figures = (seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
    out = os.open(result, os.O_WRONLY)
    os.write(out, repr(list(figures)).encode())
    os.close(out)


if __name__ == "__main__":
    main()
