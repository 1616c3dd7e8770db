# shellcheck shell=bash
# What every path.sh does, with $here set to the folder of the recipe: the project, and the modules that recipes share.
# shellcheck disable=SC2154  # here is set by path.sh
root=$(cd "$here/../.." && pwd)
export PYTHONPATH=$root:$root/egs/shared${PYTHONPATH:+:$PYTHONPATH}
