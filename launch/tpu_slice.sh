#!/usr/bin/env bash
# A TPU slice of several hosts: the same command on each. Written from the documentation; not run.
#
#     PROJECT=my-project ZONE=us-west4-a FILESTORE=10.0.0.2:/share launch/tpu_slice.sh
#
# FILESTORE is an NFS share that every host mounts: --workdir and --config.data_dir require shared storage. Both
# may also be on a bucket, by URL (gs://BUCKET/…): add the extra `stores` to the installation below. (A bucket
# mounted with gcsfuse must have a hierarchical namespace, since checkpoints rely on atomic renames of folders.)
#     launch/tpu_slice.sh stop      SIGTERM to every process: all save the same step and exit
set -euo pipefail

: "${PROJECT:?set PROJECT to your Google Cloud project}"
: "${ZONE:?set ZONE, such as us-west4-a}"
: "${FILESTORE:?set FILESTORE to HOST:/SHARE of an NFS server}"
NAME=${NAME:-dualdub-slice}
TYPE=${TYPE:-v5litepod-64}
VERSION=${VERSION:-v2-alpha-tpuv5-lite}
REPOSITORY=${REPOSITORY:-.}
CONFIG=${CONFIG:-configs/large.py}
SHARED=/mnt/dualdub

tpu() {
  gcloud compute tpus tpu-vm "$@" --project="$PROJECT" --zone="$ZONE"
}

on_every_host() {
  tpu ssh "$NAME" --worker=all --command="$1"
}

case "${1:-train}" in
  train)
    if ! tpu describe "$NAME" >/dev/null 2>&1; then
      tpu create "$NAME" --accelerator-type="$TYPE" --version="$VERSION"
    fi
    on_every_host "mountpoint -q $SHARED ||
      (sudo apt-get install -qq nfs-common && sudo mkdir -p $SHARED && sudo mount -t nfs $FILESTORE $SHARED)"
    archive=$(mktemp --suffix=.tgz)
    tar -C "$REPOSITORY" -czf "$archive" --exclude=./.venv --exclude=./.git --exclude=./runs --exclude=./data .
    tpu scp "$archive" "$NAME:dualdub.tgz" --worker=0
    tpu ssh "$NAME" --worker=0 --command="mkdir -p $SHARED/code && tar -C $SHARED/code -xzf dualdub.tgz"
    # Packages are installed on each host's own disk.
    on_every_host "python3 -m venv ~/venv && ~/venv/bin/pip install -q -e '$SHARED/code[tpu,data]'"
    # The slice's metadata define the process ids. If one process dies, all stop; rerun this script to resume.
    on_every_host "cd $SHARED/code && ~/venv/bin/dualdub train --distributed --config $CONFIG \
      --workdir $SHARED/run --config.data_dir=$SHARED/data"
    ;;
  stop) on_every_host "pkill -TERM -f 'dualdub train'" ;;
  delete) tpu delete "$NAME" --quiet ;;
  *)
    echo "usage: $0 [train|stop|delete]" >&2
    exit 2
    ;;
esac
