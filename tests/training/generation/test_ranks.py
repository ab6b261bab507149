import subprocess
import sys
from pathlib import Path

SCRIPT = """
import torch, torch.distributed as dist
from training.generation.ranks import join_ranks
from training.generation.windows import fuse, plan_windows

share = join_ranks()
latent = torch.randn(1, 2, 30, 2, 2, generator=torch.Generator().manual_seed(0))
for length in (11, 25, 40):
    plan = plan_windows(30, length, 4)
    seen = []
    def predict(window, start):
        seen.append(start)
        return torch.stack([window * (1 + start), -window])
    together, num_here = fuse(plan, latent, predict, share), len(seen)
    alone = fuse(plan, latent, predict)
    torch.testing.assert_close(together, alone)
    assert num_here == (2 if length == 11 else 1), num_here
dist.barrier()
dist.destroy_process_group()
"""


def test_two_processes_share_windows_and_agree_with_one(tmp_path):
    script = tmp_path / "share.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)],
        cwd=root,
        env={"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
