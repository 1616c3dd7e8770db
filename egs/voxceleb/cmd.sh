# shellcheck shell=bash
# Who runs the stages that --jobs divides into shards: options of 'sdpn batch' (docs/recipes.md).
# shellcheck disable=SC2034  # read by tools/recipe.sh
batch=(--executor local)
#batch=(--executor slurm --partition cpu --threads 4 --memory-gb 8 --minutes 240 --at-once 40)
