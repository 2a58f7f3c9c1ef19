#!/usr/bin/env bash
# Builds every fuzz target with coverage feedback on the stable compiler and runs each for the
# given number of seconds. Exits non-zero on the first crash and says where its input is, or which target
# hangs: a minute more than its time is its limit.
#
#   services/codec/fuzz/run.sh SECONDS [TARGET...]
#
# Needs a C++ compiler. CARGO_TARGET_DIR chooses the build directory. Inputs that reach new code
# are thrown away afterwards, unless FUZZ_CORPUS names a directory to collect them in; long runs
# should.
set -euo pipefail

seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
targets=("$@")
[[ ${#targets[@]} -gt 0 ]] || targets=(frames messages text)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/imcluster
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/fuzz-target}
crashes=$cache/fuzz-crashes
corpus=${FUZZ_CORPUS:-}
if [[ -z $corpus ]]; then
  corpus=$(mktemp -d)
  trap 'rm -rf "$corpus"' EXIT
fi
triple=x86_64-unknown-linux-gnu

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"

# With --target the flags stay away from build scripts.
cd "$here"
cargo build --locked --release --target "$triple"

# The published frames are the first inputs: as a stream, and as command number and body.
mkdir -p "$corpus"/{frames,messages,text} "$crashes"
name='' digits=()
write() { # file, prefix, digits...
  local file=$1 escaped
  shift
  printf -v escaped '\\x%s' "$@"
  printf '%b' "$escaped" >"$file"
}
seed() {
  [[ -n $name ]] || return 0
  write "$corpus/frames/$name" 08 ff "${digits[@]}"
  write "$corpus/messages/$name" "${digits[@]:10:2}" "${digits[@]:16}"
}
while read -r -a words; do
  case "${words[*]:-}" in
    # A name, then a description, then digits.
    '```frame F'[0-9]*) name=${words[1]} digits=(); read -r _ ;;
    '```'*) seed; name='' ;;
    *) [[ -z $name ]] || digits+=("${words[@]}") ;;
  esac
done <../../../docs/protocol.md
printf 'QhGXlpFjvMFUNrtl1aaPzA==' >"$corpus/text/placeholder"

for target in "${targets[@]}"; do
  log=$crashes/$target.log
  # The fuzzer ends an input that hangs after ten seconds; what hangs besides is ended here.
  status=0
  timeout --foreground --kill-after=10 $((seconds + 60)) "$CARGO_TARGET_DIR/$triple/release/$target" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 \
    -artifact_prefix="$crashes/$target-" -print_final_stats=1 -verbosity=0 \
    "$corpus/$target" >"$log" 2>&1 || status=$?
  if [[ $status -ne 0 ]]; then
    tail -n 40 "$log" >&2
    if [[ $status -eq 124 || $status -eq 137 ]]; then
      echo "fuzz: $target hangs: not finished after $((seconds + 60)) s" >&2
      exit 1
    fi
    echo "fuzz: $target failed; its input and log are in $crashes" >&2
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  echo "fuzz: $target: ${runs:-no} inputs in ${seconds}s, no crash"
done
