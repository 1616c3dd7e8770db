# shellcheck shell=bash
# Who runs the rungs that --jobs divides: options of 'sdpn batch' (docs/batch.md).
# shellcheck disable=SC2034  # read by run.sh
batch=(--executor local)
#batch=(--executor slurm --partition cpu --threads 1 --memory-gb 4 --minutes 600 --at-once 14)
