#!/bin/bash
# podwire's image, built from the repository and handed to containerd. No registry is needed.
set -euo pipefail

image=$(sed -n 's/^ *image: *\(podwire:[^ ]*\)$/\1/p' /podwire/deploy/podwire.yaml)
archive=$(mktemp --suffix=.tar)
trap 'rm -f "$archive"' EXIT

ENGINE=buildah /podwire/deploy/build-image "$image" --quiet
rm -f "$archive" # buildah adds to an archive that is there
buildah push --quiet "localhost/$image" "docker-archive:$archive:docker.io/library/$image"
ctr --namespace k8s.io images import "$archive"
