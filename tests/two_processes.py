"""What each of two processes runs in `test_training_loop.py`: half of every batch."""

import sys
from pathlib import Path

import torch

from tests.test_training_loop import Pair, Pairs, changed, run, tiny
from xnect.train.processes import join_processes, leave_processes

out = Path(sys.argv[1])
rank = join_processes("cpu")


class Half(Pairs):
    """This process's half of batches of eight."""

    def from_batch(self, number):
        for pair in Pairs(8).from_batch(number):
            yield Pair(pair.images[4 * rank : 4 * rank + 4], pair.wanted[4 * rank : 4 * rank + 4])


for name, accumulate in (("run", 1), ("two", 2)):
    options = changed(batch=8, accumulate=accumulate)
    network, _ = run(out / name, tiny(), batches=Half(), options=options)
    torch.save(network.state_dict(), out / f"{name}{rank}.pt")
leave_processes(0)
