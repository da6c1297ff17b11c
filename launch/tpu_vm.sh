#!/usr/bin/env bash
# One TPU VM: creates it, installs DualDub and trains. Written from the documentation; not run.
#
#     PROJECT=my-project ZONE=us-west4-a launch/tpu_vm.sh
#
# Rerunning it resumes the run. Ctrl-C here does not stop the run on the VM: see `stop` below.
#     launch/tpu_vm.sh stop      SIGTERM to the run: it saves and exits
#     launch/tpu_vm.sh delete    the VM, and with it the checkpoints on its disk
set -euo pipefail

: "${PROJECT:?set PROJECT to your Google Cloud project}"
: "${ZONE:?set ZONE, such as us-west4-a}"
NAME=${NAME:-dualdub}
TYPE=${TYPE:-v5litepod-8}
VERSION=${VERSION:-v2-alpha-tpuv5-lite}
REPOSITORY=${REPOSITORY:-.} # a clone of this project, copied to the VM
CONFIG=${CONFIG:-configs/small.py}
WORKDIR=${WORKDIR:-runs/small}

tpu() {
  gcloud compute tpus tpu-vm "$@" --project="$PROJECT" --zone="$ZONE"
}

on_vm() {
  tpu ssh "$NAME" --command="cd dualdub && $1"
}

case "${1:-train}" in
  train)
    if ! tpu describe "$NAME" >/dev/null 2>&1; then
      tpu create "$NAME" --accelerator-type="$TYPE" --version="$VERSION"
      archive=$(mktemp --suffix=.tgz)
      tar -C "$REPOSITORY" -czf "$archive" --exclude=./.venv --exclude=./.git --exclude=./runs --exclude=./data .
      tpu scp "$archive" "$NAME:dualdub.tgz"
      tpu ssh "$NAME" --command="mkdir -p dualdub && tar -C dualdub -xzf dualdub.tgz"
      on_vm "python3 -m venv .venv && .venv/bin/pip install -q -e '.[tpu,data]'"
      on_vm ".venv/bin/dualdub data build puppet_stage --out data"
    fi
    # nohup: the run continues without this connection.
    on_vm "nohup .venv/bin/dualdub train --config $CONFIG --workdir $WORKDIR >>train.log 2>&1 & echo started"
    on_vm "tail -n +1 -f train.log"
    ;;
  stop) on_vm "pkill -TERM -f 'dualdub train'" ;;
  delete) tpu delete "$NAME" --quiet ;;
  *)
    echo "usage: $0 [train|stop|delete]" >&2
    exit 2
    ;;
esac
