"""`script/release`: what a release hands out, from a clean clone (docs/contributing/release.md)."""
