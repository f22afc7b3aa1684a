# Shared by the scripts beside it: where things are, messages, stamps, and the compiler for WebAssembly.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/pkg-scripts/versions"

wasm_target=wasm32-unknown-unknown
stamps=$root/target/stamps
cargo_target=${CARGO_TARGET_DIR:-$root/target}
# Tools survive a `cargo clean` and serve every checkout, and leave the user's own versions alone.
tools=${XDG_CACHE_HOME:-$HOME/.cache}/sentinel-inference/tools

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# The version that Cargo.lock holds of a crate.
locked_version() {
  [ -f "$root/Cargo.lock" ] || die "Cargo.lock is missing"
  awk -v name="\"$1\"" '$1 == "name" { found = $3 == name } found && $1 == "version" { gsub(/"/, "", $3); print $3; exit }' \
    "$root/Cargo.lock"
}

# `version_of wasm-pack` prints what the first one on PATH says, or nothing.
version_of() { "$1" --version 2>/dev/null | awk 'NR == 1 { print $2 }' || true; }

use_tools() {
  wasm_bindgen_version=$(locked_version wasm-bindgen)
  local dir
  for dir in "$tools/wasm-bindgen-$wasm_bindgen_version/bin" "$tools/wasm-pack-$WASM_PACK_VERSION/bin" \
    "$root/www/node_modules/.bin"; do
    [ ! -d "$dir" ] || PATH=$dir:$PATH
  done
  export PATH
}

# Whether a toolchain compiles for WebAssembly with its standard library: a library that is missing or was built by
# another compiler fails here. $1: a rustup toolchain, or nothing for the default one.
has_wasm_std() {
  local scratch status=0
  scratch=$(mktemp -d)
  printf 'pub fn one() -> String { String::new() }\n' |
    with_toolchain "$1" rustc --target "$wasm_target" --edition 2024 \
      --crate-name probe --crate-type lib --emit metadata --out-dir "$scratch" - >/dev/null 2>&1 || status=$?
  rm -rf "$scratch"
  return "$status"
}

# Runs a command with a rustup toolchain, or with the default one when $1 is empty.
with_toolchain() {
  local toolchain=$1
  shift
  if [ -n "$toolchain" ]; then RUSTUP_TOOLCHAIN=$toolchain "$@"; else "$@"; fi
}

# Prints the toolchain that builds for WebAssembly ("default" or "web"); fails when there is none.
wasm_toolchain() {
  if has_wasm_std ""; then say default
  elif has_wasm_std web; then say web
  else return 1
  fi
}

# Debian's compiler brings no linker for WebAssembly; rustup's does.
rust_lld() {
  local sysroot host
  sysroot=$(rustc --print sysroot)
  host=$(rustc -vV | awk '$1 == "host:" { print $2 }')
  say "$sysroot/lib/rustlib/$host/bin/rust-lld"
}

use_wasm_toolchain() {
  case $(wasm_toolchain) in
    default) ;;
    web)
      CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=$(rust_lld)
      RUSTUP_TOOLCHAIN=web
      export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER RUSTUP_TOOLCHAIN
      ;;
    *) die "no Rust with the standard library for $wasm_target: run pkg-scripts/setup" ;;
  esac
}

# One line that changes when a file under the paths appears, disappears or changes.
digest() {
  { find "$@" -type f -print0 2>/dev/null || true; } | LC_ALL=C sort -z | xargs -0 -r sha256sum | sha256sum | cut -d ' ' -f 1
}

# is_fresh NAME KEY OUTPUT...: NAME was last made from KEY, and what it made is still there.
is_fresh() {
  local name=$1 key=$2 output
  shift 2
  [ -f "$stamps/$name" ] && [ "$(cat "$stamps/$name")" = "$key" ] || return 1
  for output in "$@"; do [ -e "$output" ] || return 1; done
}

mark_fresh() {
  mkdir -p "$stamps"
  printf '%s' "$2" >"$stamps/$1"
}

# Holds a lock until the script ends, so that two runs at once do the work one after the other.
hold_lock() {
  mkdir -p "$(dirname "$1")"
  exec 9>"$1"
  flock -n 9 || { say "${0##*/}: another run is at work, waiting for it"; flock 9; }
}
