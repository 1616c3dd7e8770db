# shellcheck shell=bash
# Stages 1 to 6 of a recipe: training, embeddings, verification, diarization, DER, report. To be sourced after its
# stage 0, which has made
#
#     $data/train         Kaldi data directory
#     $data/dev           with trials, where $dev is not empty
#     $data/meetings      with reference.rttm and maybe reference.uem, where $meetings is not empty
#     $data/{noise,rir}   for augmentation, where $noise and $rir are not empty
#
# shellcheck disable=SC2154  # the variables come from the recipe and from options.sh

# ---- 1: training without labels ----------------------------------------------------------------------------
# exp/sdpn is the trained network; exp/untrained is the same network before its first step, the baseline that
# shows what training has taught. An interrupted training resumes from its last checkpoint.
training_settings ${noise:+noise} ${rir:+rir}

# The dev trials are scored now and then for the dashboard; nothing of it reaches the training.
watched=()
if [ -n "$dev" ]; then
  watched=("evaluation.data=$data/dev" "evaluation.trials=$data/dev/trials" "evaluation.every=400")
fi

train_networks() {
  show sdpn train --config "$config" --data "$data/train" --out "$exp/untrained" "${settings[@]}" training.steps=0
  show sdpn train --config "$config" --data "$data/train" --out "$exp/sdpn" "${settings[@]}" \
    ${watched[@]+"${watched[@]}"}
  learn_back_end "$exp/sdpn/model" "$data/train"
}
run_stage 1 "training without labels" train_networks --text "settings=${settings[*]}" \
  --code sdpn.cli.train --code sdpn.cli.backend \
  "$config" "$data/train" ${augmentation_data[@]+"${augmentation_data[@]}"} \
  --outputs "$exp/sdpn/model" "$exp/untrained/model" --clears "$exp/sdpn" "$exp/untrained"

# ---- 2: embeddings of the dev speakers to Kaldi ark/scp ---------------------------------------------------
# fp32 on every machine: left to itself, extract takes bf16 where that is faster, and the EER moves a little.
embed_dev() {
  spread extract --precision fp32 --model "$exp/sdpn/model" --data "$data/dev" --out "$exp/embeddings/trained"
  spread extract --precision fp32 --model "$exp/untrained/model" --data "$data/dev" --out "$exp/embeddings/untrained"
}
# ---- 3: verification, EER and minDCF on speakers that training never saw --------------------------------
verify_dev() {
  verify "$exp/embeddings/untrained" "$exp/untrained/model" "$exp/results/verify.untrained"
  verify "$exp/embeddings/trained" "$exp/sdpn/model" "$exp/results/verify.trained"
}
if [ -n "$dev" ]; then
  run_stage 2 "embeddings" embed_dev --code sdpn.cli.extract \
    "$exp/sdpn/model" "$exp/untrained/model" "$data/dev" \
    --outputs "$exp/embeddings/trained" "$exp/embeddings/untrained"
  run_stage 3 "verification" verify_dev --code sdpn.cli.verify \
    "$exp/embeddings" "$data/dev/trials" "$exp/sdpn/model" \
    --outputs "$exp/results/verify.trained.json" "$exp/results/verify.untrained.json"
else
  echo "stages 2 and 3: left out, there is no --dev"
fi

# ---- 4: diarization, recordings -> RTTM ------------------------------------------------------------------
# Three systems: the trained network, the untrained one, and "everything is one speaker", which costs nothing
# and scores well wherever one person does most of the talking.
diarize_meetings() {
  local recordings
  mapfile -t recordings < <(cut -d' ' -f2- "$data/meetings/wav.scp")
  spread diarize --model "$exp/sdpn/model" --out "$exp/rttm/trained" \
    --json "$exp/results/diarize.trained.json" "${recordings[@]}"
  spread diarize --model "$exp/untrained/model" --out "$exp/rttm/untrained" \
    --json "$exp/results/diarize.untrained.json" "${recordings[@]}"
  spread diarize --model "$exp/sdpn/model" --num-speakers 1 --out "$exp/rttm/one-speaker" \
    --json "$exp/results/diarize.one-speaker.json" "${recordings[@]}"
}
# ---- 5: DER ----------------------------------------------------------------------------------------------
score_meetings() {
  local label options=()
  if [ -f "$data/meetings/reference.uem" ]; then options+=(--uem "$data/meetings/reference.uem"); fi
  for label in trained untrained one-speaker; do
    show sdpn score --ref "$data/meetings/reference.rttm" --hyp "$exp/rttm/$label"/*.rttm --collar "$collar" \
      --json "$exp/results/score.$label.json" "${options[@]}"
  done
}
if [ -n "$meetings" ]; then
  run_stage 4 "diarization" diarize_meetings --code sdpn.cli.diarize \
    "$exp/sdpn/model" "$exp/untrained/model" "$data/meetings" \
    --outputs "$exp"/rttm/{trained,untrained,one-speaker} "$exp"/results/diarize.{trained,untrained,one-speaker}.json
  run_stage 5 "diarization error rate" score_meetings --text "collar=$collar" --code sdpn.cli.score \
    "$exp/rttm" "$data/meetings" --outputs "$exp"/results/score.{trained,untrained,one-speaker}.json
else
  echo "stages 4 and 5: left out, there are no --meetings"
fi

# ---- 6: report -------------------------------------------------------------------------------------------
# The table is kept, so that a run in which nothing had to be done still ends with it.
write_report() {
  show sdpn report "$exp" >"$exp/report.txt"
}
if [ -n "$dev$meetings" ]; then
  run_stage 6 "report" write_report --code sdpn.cli.report "$exp/results" "$exp/sdpn/tensorboard" \
    --outputs "$exp/report.html" "$exp/report.txt"
fi
if [ "$stop_stage" -ge 6 ] && [ -f "$exp/report.txt" ]; then
  echo
  cat "$exp/report.txt"
  echo
  [ -z "$meetings" ] || echo "RTTM:        $exp/rttm/trained/*.rttm"
  echo "TensorBoard: $exp/sdpn/tensorboard (tensorboard --logdir '$exp/sdpn/tensorboard')"
fi
