#!/bin/sh
# cargo calls this in place of rustc for the crates of the workspace, with rustc's path and arguments. One
# compilation gives the program and what Clippy says of it, and rustdoc reads the crate beside it: `cargo
# clippy` and `cargo doc` would read every crate and each of its dependencies once more. Clippy's driver is
# rustc with more lints. A warning of either is an error.
set -eu
toolchain=${1%rustc}
"${toolchain}clippy-driver" "$@" --deny warnings

case " $* " in
  # Tests, build scripts and cargo's questions about the compiler have no documentation.
  *' --test '* | *' --crate-name build_script_'* | *' --crate-name ___ '*) exit ;;
  # As cargo does: a program's documentation is for those who work on it.
  *' --crate-type bin '*) more='--document-private-items --allow rustdoc::private-intra-doc-links' ;;
  *' --crate-type '*) more= ;;
  *) exit ;;
esac

# The same arguments but for those about output.
shift
skip=
for argument; do
  shift
  if [ -n "$skip" ]; then
    skip=
    continue
  fi
  case $argument in
    --emit=* | --json=* | --error-format=*) ;;
    --out-dir) skip=yes ;;
    *) set -- "$@" "$argument" ;;
  esac
done
pages=$(mktemp -d)
trap 'rm -r "$pages"' EXIT
"${toolchain}rustdoc" "$@" --deny warnings $more --out-dir "$pages"
