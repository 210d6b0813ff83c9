# Sourced by build: the tree as an OCI image, from nothing.

# make_image KIT NAME FILE
make_image() {
  local kit="$1" name="$2" file="$3" container made
  made="$(sed -n 's/^# made \([^ ]*\).*/\1/p' "$lock")"
  container="$(buildah from --arch "$arch" scratch)"
  buildah copy --quiet "$container" "$kit" /kit >/dev/null
  buildah config --arch "$arch" --os linux --entrypoint '["/kit/bin/copy"]' --cmd /kit-volume --user 65532:65532 \
    --label org.opencontainers.image.title=stagedoor-kit \
    --label org.opencontainers.image.description='sshd for the shells of Stagedoor' \
    --label org.opencontainers.image.licenses='Apache-2.0 AND others; see /kit/share/doc' \
    --label org.opencontainers.image.created="$made" "$container"
  rm -f "$file"
  buildah commit --quiet --rm --timestamp "$(date -d "$made" +%s)" "$container" "$name" >/dev/null
  buildah push --quiet "$name" "oci-archive:$file:$name" >/dev/null
  say "$file: $name, $(du -k "$file" | cut -f1) KiB"
}
