"""`script/release`: the build of a release's files from a clean clone (docs/contributing/release.md)."""
