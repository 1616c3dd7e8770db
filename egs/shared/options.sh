# shellcheck shell=bash
# The options that every recipe from recordings to a report has, as tools/parse_options.sh wants them. To be sourced
# before the recipe's own options, with $here and $root set; $shared_help is for its help.
# shellcheck disable=SC2034,SC2154  # variables of the recipe

stage=0
stop_stage=6
force=false
exp=
config=
set=()
seed=0
collar=0.0
nj=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

shared_help="what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 data  1 training  2 embeddings  3 verification  4 diarization  5 DER  6 report
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         where everything goes (default $default_exp)

how
  --config FILE     training configuration (default $default_config)
  --set KEY=VALUE   change one of its values, such as training.steps=500; may be repeated
  --seed N          of everything random (default $seed)
  --collar S        seconds forgiven on each side of a reference boundary (default $collar)
  --nj N            processes that prepare data (default: processors, here $nj)"
