#!/usr/bin/env bash
# SDPN on VoxCeleb2 without labels, tested on the O, E and H trials of VoxCeleb1.
# README.md describes the stages; --help lists the options.
set -euo pipefail

# shellcheck source=egs/voxceleb/path.sh
source "$(dirname "${BASH_SOURCE[0]}")/path.sh"
# shellcheck source=egs/voxceleb/cmd.sh
source "$here/cmd.sh"

# ---- options -----------------------------------------------------------------------------------------
stage=0
stop_stage=9
force=false
exp=
download=
url=
list=$here/local/files.txt
vox1=
vox2=
trials=
musan=
rirs=
no_counts=false
skip_headers=false
pack=false
config=published
pseudo_config=$root/conf/pseudo.yaml
distill_config=$root/conf/fast.yaml
set=()
pseudo_set=()
distill_set=()
cohort=20000
without_pseudo=false
without_distillation=false
average=10
jobs=1
ngpu=1
num_nodes=1
rendezvous=
seed=0
nj=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)

help_message="usage: $0 --download DIR | --vox1 DIR --vox2 DIR --trials DIR [options]

SDPN on VoxCeleb2 without labels, a round of pseudo-labels, a small student, and the O, E and H trials of VoxCeleb1.

data
  --download DIR    folder to download to, with VoxCeleb, trial lists, MUSAN and RIRS (README.md)
  --url PATTERN     address of VoxCeleb's archives with {file}, which those get who register; not needed for archives
                    that lie in DIR/archives
  --list FILE       files to download, with checksums (default local/files.txt)
  --vox1 DIR        instead: a copy of VoxCeleb1, DIR/{dev,test}/wav/idXXXXX/VIDEO/NNNNN.wav
  --vox2 DIR        a copy of VoxCeleb2, DIR/dev/{aac,m4a,wav}/idXXXXX/VIDEO/NNNNN.*
  --trials DIR      veri_test2.txt, list_test_all2.txt and list_test_hard2.txt
  --musan DIR       MUSAN, for augmentation
  --rirs DIR        room impulse responses, for augmentation
  --no_counts       the copies are parts of the corpora (default $no_counts)
  --skip_headers    do not open every file (default $skip_headers)
  --pack            pack the training speech into a few large files first (default $pack)

what to run
  --stage N         first stage (default $stage)
  --stop_stage N    last stage (default $stop_stage)
                    0 download  1 data  2 packing  3 SDPN  4 clusters  5 training on them  6 distillation
                    7 trials  8 ONNX  9 table
  --force           run the chosen stages even if nothing has changed (default $force)
  --exp DIR         experiment folder (default $here/exp/CONFIG)
  --without_pseudo        leave out stages 4 and 5 (default $without_pseudo)
  --without_distillation  leave out stage 6 (default $without_distillation)

how
  --config C        published (conf/reference.yaml), regularised (the same with the dimension regulariser), ours
                    (conf/ours.yaml here), or a file (default $config)
  --pseudo_config FILE, --distill_config FILE   of stages 5 and 6 (default conf/pseudo.yaml, conf/fast.yaml)
  --set KEY=VALUE   change a setting of stage 3, such as training.steps=500; may be repeated
  --pseudo_set KEY=VALUE, --distill_set KEY=VALUE   of stages 5 and 6
  --cohort N        utterances of the AS-norm cohort (default $cohort)
  --average N       checkpoints of stage 3 whose mean is a system, too; 0 leaves it out (default $average)
  --jobs N          batch jobs that embed, run as cmd.sh says (default $jobs: in one process)
  --ngpu N          GPUs of each node that train, by torchrun, and of each job (default $ngpu)
  --num_nodes N     nodes that train; on the others, run the torchrun command that is shown (default $num_nodes)
  --rendezvous HOST:PORT   where they meet, with --num_nodes above 1: this node and a free port
  --seed N          random seed (default $seed)
  --nj N            threads for data preparation (default: number of cores, here $nj)

examples
  $0 --download /data/voxceleb --url 'https://host/voxceleb?key=KEY&file={file}' --ngpu 4
  $0 --vox1 /data/vox1 --vox2 /data/vox2 --trials /data/lists --musan /data/musan --rirs /data/RIRS_NOISES --ngpu 4"
# shellcheck source=tools/parse_options.sh
source "$root/tools/parse_options.sh"
# shellcheck source=tools/recipe.sh
source "$root/tools/recipe.sh"

[ $# -eq 0 ] || fail "unexpected argument '$1' (see --help)"
if [ -n "$download" ]; then
  [ -z "$vox1$vox2$trials$musan$rirs" ] || fail "--download has its own --vox1, --vox2, --trials, --musan and --rirs"
  vox1=$download/vox1 vox2=$download/vox2 trials=$download/trials musan=$download/musan rirs=$download/RIRS_NOISES
  [ "$list" = "$here/local/files.txt" ] || [ -f "$list" ] || fail "no such file: $list"
else
  for given in vox1 vox2 trials; do
    [ -n "${!given}" ] || fail "give --download, or --vox1, --vox2 and --trials (see --help)"
  done
  for given in "$vox1" "$vox2" "$trials" "$musan" "$rirs"; do
    [ -z "$given" ] || [ -d "$given" ] || fail "no such folder: $given"
  done
fi
exp=${exp:-$here/exp/$(basename "$config" .yaml)}
case $config in
  published) config=$root/conf/reference.yaml ;;
  regularised) config=$root/conf/reference.yaml set=("sdpn.dimension_weight=0.1" ${set[@]+"${set[@]}"}) ;;
  ours) config=$here/conf/ours.yaml ;;
esac
for given in "$config" "$pseudo_config" "$distill_config"; do
  [ -f "$given" ] || fail "no such file: $given"
done
[ "$ngpu" -ge 1 ] || fail "--ngpu must be at least 1"
check_jobs
[ "$average" -ge 0 ] || fail "--average must not be negative"
[ "$num_nodes" -ge 1 ] || fail "--num_nodes must be at least 1"
[ "$num_nodes" -eq 1 ] || [ -n "$rendezvous" ] || fail "--num_nodes needs --rendezvous HOST:PORT"

begin_experiment .
train=$data/train

# ---- 0: archives -> corpora ---------------------------------------------------------------------------
download_corpora() {
  local options=()
  if [ -n "$url" ]; then options+=(--url "$url"); fi
  show "$python" "$here/local/download.py" --out "$download" --list "$list" ${options[@]+"${options[@]}"}
}
# It knows itself what is there, and must not remove what is.
if [ -n "$download" ] && [ "$stage" -le 0 ] && [ "$stop_stage" -ge 0 ]; then
  echo "stage 0: download"
  download_corpora
fi

# ---- 1: corpora -> validated data directories ---------------------------------------------------------
data_options=(--vox1 "$vox1" --vox2 "$vox2" --trials "$trials")
if [ -n "$musan" ]; then data_options+=(--musan "$musan"); fi
if [ -n "$rirs" ]; then data_options+=(--rirs "$rirs"); fi
if [ "$no_counts" = true ]; then data_options+=(--no_counts); fi
prepare_data() {
  local options=(--nj "$nj")
  if [ "$skip_headers" = true ]; then options+=(--skip_headers); fi
  show "$python" "$here/local/prepare_voxceleb.py" --out "$data" "${options[@]}" "${data_options[@]}"
}
run_stage 1 "data directories" prepare_data --text "data=${data_options[*]}" \
  "$vox1" "$vox2" "$trials" ${musan:+"$musan"} ${rirs:+"$rirs"} "$here/local/prepare_voxceleb.py" --code sdpn.io --outputs "$data"

# ---- 2: training speech in a few large files ------------------------------------------------------------
if [ "$pack" = true ]; then
  pack_train() {
    show sdpn pack --data "$data/train" --out "$exp/pack"
  }
  run_stage 2 "packing" pack_train "$data/train" --code sdpn.cli.pack --outputs "$exp/pack"
  train=$exp/pack
fi

# ---- 3: SDPN ------------------------------------------------------------------------------------------
parts=()
if [ -n "$musan" ]; then parts+=(noise music); fi
if [ -n "$rirs" ]; then parts+=(rir); fi
training_settings ${parts[@]+"${parts[@]}"}
augmentation=("${settings[@]:${#set[@]}}") # the settings of every training: seed, noises and rooms

train_on_gpus() {
  if [ "$num_nodes" -gt 1 ]; then
    show torchrun --nnodes "$num_nodes" --rdzv-backend c10d --rdzv-endpoint "$rendezvous" --rdzv-id "$(basename "$exp")" \
      --nproc-per-node "$ngpu" --no-python sdpn train "$@"
  elif [ "$ngpu" -gt 1 ]; then
    show torchrun --standalone --nproc-per-node "$ngpu" --no-python sdpn train "$@"
  else
    show sdpn train "$@"
  fi
}
# The last checkpoints are kept for their mean, which is no more training: the published row is without.
systems=(sdpn)
of_sdpn=("$exp/sdpn/model")
if [ "$average" -gt 0 ]; then
  settings+=("training.keep_checkpoints=$average" training.checkpoint_minutes=0) # at equal distances on any machine
  systems+=(averaged)
  of_sdpn+=("$exp/averaged/model")
fi
train_sdpn() {
  train_on_gpus --config "$config" --data "$train" --out "$exp/sdpn" "${settings[@]}"
  if [ "$average" -gt 0 ]; then
    show sdpn average "$exp/sdpn" --checkpoints "$average" --out "$exp/averaged/model"
  fi
}
run_stage 3 "SDPN" train_sdpn --text "settings=${settings[*]} $average" --code sdpn.cli.train --code sdpn.cli.average \
  "$config" "$train" ${augmentation_data[@]+"${augmentation_data[@]}"} \
  --outputs "${of_sdpn[@]}" --clears "$exp/sdpn" "$exp/averaged"

# ---- 4 and 5: a round of pseudo-labels ------------------------------------------------------------------
if [ "$without_pseudo" = false ]; then
  cluster() {
    show sdpn pseudo-label --data "$train" --write-halves "$exp/clusters/data"
    spread extract --precision fp32 --model "$exp/sdpn/model" --data "$train" --out "$exp/clusters/whole"
    spread extract --precision fp32 --model "$exp/sdpn/model" --data "$exp/clusters/data" --out "$exp/clusters/halves"
    show sdpn pseudo-label --embeddings "$exp/clusters/whole/embeddings.scp" \
      --halves "$exp/clusters/halves/embeddings.scp" --utt2spk "$train/utt2spk" \
      --out "$exp/clusters/labels" --json "$exp/clusters/labels.json"
  }
  run_stage 4 "clusters of the training speech" cluster \
    --code sdpn.cli.extract --code sdpn.cli.pseudo_label "$exp/sdpn/model" "$train" \
    --outputs "$exp/clusters/labels" "$exp/clusters/labels.json" --clears "$exp/clusters"

  train_on_clusters() {
    train_on_gpus --config "$pseudo_config" --data "$train" --out "$exp/pseudo" --objective pseudo \
      --labels "$exp/clusters/labels" --init "$exp/sdpn/model" "${augmentation[@]}" \
      ${pseudo_set[@]+"${pseudo_set[@]}"}
  }
  run_stage 5 "training on the clusters" train_on_clusters --text "settings=${augmentation[*]} ${pseudo_set[*]-}" \
    --code sdpn.cli.train "$pseudo_config" "$train" "$exp/clusters/labels" "$exp/sdpn/model" \
    ${augmentation_data[@]+"${augmentation_data[@]}"} --outputs "$exp/pseudo/model" --clears "$exp/pseudo"
  systems+=(pseudo)
fi
teacher=$exp/${systems[-1]}/model

# ---- 6: a small student of the best of them -------------------------------------------------------------
if [ "$without_distillation" = false ]; then
  distill() {
    train_on_gpus --config "$distill_config" --data "$train" --out "$exp/distilled" --objective distill \
      --teacher "$teacher" "${augmentation[@]}" ${distill_set[@]+"${distill_set[@]}"}
  }
  run_stage 6 "distillation" distill --text "settings=${augmentation[*]} ${distill_set[*]-}" --code sdpn.cli.train \
    "$distill_config" "$train" "$teacher" ${augmentation_data[@]+"${augmentation_data[@]}"} \
    --outputs "$exp/distilled/model" --clears "$exp/distilled"
  systems+=(distilled)
fi

# ---- 7: the O, E and H trials by the cosine, and with AS-norm -------------------------------------------
# The cohort is of the training speech, and nobody knows who is in it.
models=()
for system in "${systems[@]}"; do models+=("$exp/$system/model"); done
verify_vox1() {
  local system list number given
  number=$(wc -l <"$data/train/wav.scp")
  if [ "$cohort" -lt "$number" ]; then number=$cohort; fi
  rm -rf "$exp/cohort"
  show sdpn data subset "$data/train" --random "$number" --seed "$seed" --out "$exp/cohort"
  for system in "${systems[@]}"; do
    for list in vox1 cohort; do
      given=$exp/cohort
      [ "$list" = cohort ] || given=$data/vox1
      spread extract --precision fp32 --model "$exp/$system/model" --data "$given" --out "$exp/embeddings/$system/$list"
    done
    given=$exp/embeddings/$system/cohort/embeddings.scp
    for list in O E H; do
      local verify=(sdpn verify --trials "$data/vox1/trials_$list" --utt2spk "$data/vox1/utt2spk"
        --embeddings "$exp/embeddings/$system/vox1/embeddings.scp")
      show "${verify[@]}" --json "$exp/results/verify.$system-$list.json"
      show "${verify[@]}" --mean "$given" --cohort "$given" --json "$exp/results/verify.$system-$list-as-norm.json"
    done
  done
}
run_stage 7 "trials" verify_vox1 --text "cohort=$cohort $seed" --text "systems=${systems[*]}" \
  --code sdpn.cli.extract --code sdpn.cli.verify "${models[@]}" "$data/vox1" "$data/train" \
  --outputs "$exp/results" --clears "$exp/embeddings"

# ---- 8: graphs for onnxruntime --------------------------------------------------------------------------
export_onnx() {
  local system
  mkdir -p "$exp/onnx"
  for system in "${systems[@]}"; do
    show sdpn convert --model "$exp/$system/model" --to onnx --features inside --out "$exp/onnx/$system.onnx"
  done
}
run_stage 8 "ONNX" export_onnx --code sdpn.cli.convert "${models[@]}" --outputs "$exp/onnx"

# ---- 9: the table ---------------------------------------------------------------------------------------
write_table() {
  show "$python" "$here/local/voxceleb_results.py" "$exp" >"$exp/RESULTS.md"
}
run_stage 9 "table" write_table "$here/local/voxceleb_results.py" "$exp/results" --outputs "$exp/RESULTS.md"
if [ "$stop_stage" -ge 9 ]; then
  echo
  cat "$exp/RESULTS.md"
fi
