# shellcheck shell=bash
# Paths of the recipe; to be sourced by run.sh, or by hand to run the scripts of local/ alone.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=egs/shared/path.sh
source "$here/../shared/path.sh"
