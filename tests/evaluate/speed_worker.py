"""A contender for the tests of measuring: its clock stands still but for the work it is given.

python speed_worker.py NAME SECONDS_A_TEXT LOG [DIES_AT_TEXTS]
"""

import os
import sys
import time
from pathlib import Path

from hpdistill.errors import WeightsError
from hpdistill.evaluate._worker import Loaded, serve

name, cost, log, *dies = sys.argv[1:]
now = 0.0
time.perf_counter = lambda: now


def load(backend, model, path, threads):
    global now
    if backend == "refuses":
        raise WeightsError(f"{model} is damaged", hint="Fetch it again.")
    if backend == "breaks":
        raise KeyError("no such tensor")
    now += 1.5
    print("libraries print on standard output")
    with Path(log).open("a") as file:
        file.write(f"{name}:{os.getpid()}:{threads} ")
    return Loaded(encode=encode, facts=facts)


def facts():
    keys = ("backend", "precision", "dim", "parameters", "max_tokens", "file_mb")
    return dict.fromkeys(keys, 7) | {"backend": name}


def encode(texts, *, batch_size):
    global now
    if dies and len(texts) >= int(dies[0]):
        print("out of everything", file=sys.stderr, flush=True)
        os._exit(3)
    # A single query takes as long as its length says.
    now += float(cost) * (len(texts) if batch_size > 1 else len(texts[0]))
    with Path(log).open("a") as file:
        file.write(f"{name}{len(texts)} ")


serve(load)
