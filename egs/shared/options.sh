# shellcheck shell=bash
# Options that all recipes share, for tools/parse_options.sh. Source this before the recipe's own options, with $here
# and $root set; $shared_help is part of the help text.
# shellcheck disable=SC2034,SC2154  # variables of the recipe

stage=0
stop_stage=6
force=false
exp=
config=
set=()
seed=0
collar=0.0
jobs=1
ngpu=0
nj=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

shared_help="what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 data  1 training  2 embeddings  3 verification  4 diarization  5 DER  6 report
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         experiment folder (default $default_exp)

how
  --config FILE     training configuration (default $default_config)
  --set KEY=VALUE   change a setting, such as training.steps=500; may be repeated
  --seed N          random seed (default $seed)
  --collar S        seconds not scored on each side of a reference boundary (default $collar)
  --jobs N          batch jobs that embed and diarize, run as cmd.sh says (default $jobs: in one process)
  --ngpu N          GPUs of each job (default $ngpu)
  --nj N            number of processes for data preparation (default: number of cores, here $nj)"
