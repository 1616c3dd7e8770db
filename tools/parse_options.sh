# shellcheck shell=bash
# Option parsing for stage scripts. To be sourced, after the options have been declared:
#
#     stage=0                         # an option that takes a value; whole numbers are checked to be numbers
#     force=false                     # a flag: --force sets it to true
#     corpus=()                       # an option that may be repeated
#     help_message="usage: ...        # must name every option as '--name'
#       --stage N    first stage (default: $stage)"
#     source tools/parse_options.sh
#
# Afterwards the variables hold what the user gave, and "$@" the arguments that follow the options. Both
# '--name value' and '--name=value' work, and '-' in a name is the same as '_'. --help prints the help. An
# option that the help does not name does not exist: one clear line and exit 2, so that a typing error never
# silently runs with the defaults.

# shellcheck disable=SC2154  # help_message comes from the script that sources this

_option_error() {
  echo "$(basename "$0"): error: $1 (see --help)" >&2
  exit 2
}

while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break ;;
    --help | -h) echo "$help_message"; exit 0 ;;
    --?*) ;;
    *) break ;;
  esac
  _flag=${1%%=*}
  _name=${_flag#--}
  _name=${_name//-/_}
  # the first test keeps strange names out of the expansions that follow
  if [[ ! $_name =~ ^[a-z][a-z0-9_]*$ ]] || [[ ! $help_message =~ (^|[[:space:]])--$_name([[:space:]]|$) ]] \
    || ! _declared=$(declare -p "$_name" 2>/dev/null); then
    _option_error "unknown option $_flag"
  fi
  _default=${!_name-}
  if [[ $1 == *=* ]]; then
    _value=${1#*=}
    shift
  elif [[ $_default == true || $_default == false ]]; then
    _value=true
    shift
  elif [ $# -lt 2 ] || [[ $2 =~ ^--[[:alnum:]_-]+$ ]]; then
    # a value that looks like an option is more often a value forgotten; $_flag=$2 says it is meant
    _option_error "$_flag needs a value"
  else
    _value=$2
    shift 2
  fi
  if [[ $_declared == "declare -a"* ]]; then
    eval "$_name+=(\"\$_value\")"
  elif [[ $_default == true || $_default == false ]] && [[ $_value != true && $_value != false ]]; then
    _option_error "$_flag is a flag: true or false, not '$_value'"
  elif [[ $_default =~ ^-?[0-9]+$ && ! $_value =~ ^-?[0-9]+$ ]]; then
    _option_error "$_flag needs a whole number, not '$_value'"
  else
    printf -v "$_name" '%s' "$_value"
  fi
done
unset _flag _name _declared _default _value
