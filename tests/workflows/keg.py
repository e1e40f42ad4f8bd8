#!/usr/bin/env python3
"""A stand-in for a scientific code: reads its inputs, writes outputs that depend on every byte of them.

keg -n NAME -i IN [IN ...] -o OUT [OUT ...] [-k KIB] [--stdout] [--fail-once FILE] [--fail-while FILE]
    [--spoil BELOW NAME] [--spoil-once BELOW NAME]
"""

import argparse
import hashlib
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("-n", required=True)
parser.add_argument("-i", nargs="*", default=[])
parser.add_argument("-o", nargs="*", default=[])
parser.add_argument("-k", type=int, default=1)
parser.add_argument("--fail-once")
parser.add_argument("--fail-while", help="fails as long as that file is there")
parser.add_argument("--stdout", action="store_true", help="the last output is what is printed")
parser.add_argument("--spoil", nargs=2, metavar=("BELOW", "NAME"), help="changes a byte of each")
parser.add_argument("--spoil-once", nargs=2, metavar=("BELOW", "NAME"), help="does that if it did not yet")
arguments = parser.parse_args()

if arguments.fail_once and not Path(arguments.fail_once).exists():
    Path(arguments.fail_once).touch()
    sys.exit("failing this once, as asked")
if arguments.fail_while and Path(arguments.fail_while).exists():
    sys.exit("failing for now, as asked")
if arguments.spoil_once and not Path(arguments.spoil_once[0], "spoilt").exists():
    Path(arguments.spoil_once[0], "spoilt").touch()
    arguments.spoil = arguments.spoil_once
if arguments.spoil and Path(arguments.spoil[0], "calm").exists():
    arguments.spoil = None
for path in Path(arguments.spoil[0]).rglob(arguments.spoil[1]) if arguments.spoil else ():
    path.write_bytes(b"?" + path.read_bytes()[1:])
seed = hashlib.sha256(arguments.n.encode())
for name in arguments.i:
    seed.update(hashlib.sha256(Path(name).read_bytes()).digest())
for name in arguments.o:
    line = hashlib.sha256(seed.digest() + name.encode()).hexdigest() + "\n"
    text = line * max(1, arguments.k * 1024 // 65)
    if arguments.stdout and name == arguments.o[-1]:
        sys.stdout.write(text)
    else:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
