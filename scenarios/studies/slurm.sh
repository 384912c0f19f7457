#!/bin/bash
#SBATCH --job-name=eviction-sweep --ntasks=64 --time=01:00:00
# One rank a core; rank 0 hands out trials. After a time limit or a lost node: the same with resume in place of run.
srun kvsim study run --mpi scenarios/studies/eviction-sweep.yaml
