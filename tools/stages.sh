# shellcheck shell=bash
# Numbered stages that run only when they must. To be sourced by a recipe that has set
#
#     stage, stop_stage, force    which stages to look at, and whether to run them anyhow
#     stage_markers               folder of the markers
#     python                      an interpreter that has sdpn
#
#     run_stage NUMBER TITLE FUNCTION [INPUT...] --outputs PATH... [--clears PATH...]
#
# A stage is done when its marker NUMBER.done holds the fingerprint of its inputs, of the commands in FUNCTION
# and of its outputs (tools/fingerprint.py says what an INPUT may be), and both still match. The marker is
# written last: an interrupted stage has none. An interrupted stage is started again on top of what it left,
# so that training can resume; but when anything about its inputs has changed since, its outputs and what it
# --clears are removed first, for they belong to other inputs.

# shellcheck disable=SC2154  # the variables above come from the script that sources this

_stages_home=$(dirname "${BASH_SOURCE[0]}")

run_stage() {
  local number=$1 title=$2 function=$3
  shift 3
  local inputs=() outputs=() clears=() list=inputs
  while [ $# -gt 0 ]; do
    case $1 in
      --outputs) list=outputs ;;
      --clears) list=clears ;;
      *) eval "$list+=(\"\$1\")" ;;
    esac
    shift
  done
  if [ "$number" -lt "$stage" ] || [ "$number" -gt "$stop_stage" ]; then
    return 0
  fi
  mkdir -p "$stage_markers"
  local marker=$stage_markers/$number.done started=$stage_markers/$number.started now
  now=$("$python" "$_stages_home/fingerprint.py" --text "commands=$(declare -f "$function")" "${inputs[@]}") || {
    echo "stage $number ($title) lacks an input: run the stages before it" >&2
    return 2
  }
  if [ "$force" = false ] && [ -f "$marker" ] \
    && [ "$(cat "$marker")" = "$now"$'\n'"$(_outputs_of_stage)" ]; then
    echo "stage $number: $title: up to date"
    return 0
  fi
  local why=""
  if [ -f "$marker" ] && [ "$force" = false ]; then
    why=" (changed: $(_changed "$marker" "$now"$'\n'"$(_outputs_of_stage)"))"
  fi
  echo "stage $number: $title$why"
  rm -f "$marker"
  if [ "$force" = true ] || [ ! -f "$started" ] || [ "$(cat "$started")" != "$now" ]; then
    rm -rf "${outputs[@]}" ${clears[@]+"${clears[@]}"}
    echo "$now" >"$started"
  fi
  local since=$SECONDS
  "$function"
  printf '%s\n%s\n' "$now" "$(_outputs_of_stage)" >"$marker.tmp"
  mv "$marker.tmp" "$marker"
  rm -f "$started"
  echo "stage $number: done in $((SECONDS - since)) s"
}

# Uses the local variable of run_stage, as a shell function may.
_outputs_of_stage() {
  "$python" "$_stages_home/fingerprint.py" --missing_ok "${outputs[@]}"
}

# Names of the items whose lines differ between a marker and a fresh fingerprint.
_changed() {
  { diff "$1" <(echo "$2") || true; } | sed -n 's/^[<>] [0-9a-f]* //p' | sort -u | paste -sd, - \
    | sed 's/,/, /g'
}
