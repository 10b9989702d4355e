#!/usr/bin/env bash
# Prepare this machine to build and test Bugle; `make` runs it first each time, so it is quick when nothing is missing.
#
# It looks for what is needed, not for package names, so any distribution will do. Only what is missing is installed,
# and only by Debian's apt (as root or with a password-free sudo) and rustup; otherwise it says what to install and stops.
# The tree stays clean: the tests' Python receivers go to $CARGO_TARGET_DIR/python.
set -euo pipefail
cd "$(dirname "$0")/.."
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
arrow='==>'
if [ -t 1 ]; then arrow=$'\033[1m==>\033[0m'; fi
rust_min=95 # minor version; `rust-version` in Cargo.toml

say() { printf '%s setup: %s\n' "$arrow" "$*"; }
stop() {
    printf '\nBugle cannot be built here yet: %s\n' "$1" >&2
    shift
    printf '    %s\n' "$@" >&2
    exit 1
}

has_compiler() { command -v cc >/dev/null && { command -v c++ >/dev/null || command -v g++ >/dev/null; }; }

# RocksDB's bindings are generated at build time, by libclang and with its own C headers.
has_libclang() {
    local found
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    for found in /usr/lib/llvm-*/lib /usr/lib64 /usr/local/lib /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu; do
        if compgen -G "$found/libclang.so*" >/dev/null || compgen -G "$found/libclang-*.so*" >/dev/null; then
            compgen -G '/usr/lib*/llvm-*/lib/clang/*/include/stddef.h' >/dev/null && return 0
            compgen -G '/usr/lib*/clang/*/include/stddef.h' >/dev/null && return 0
        fi
    done
    return 1
}

# Prints a Python that can make a virtual environment; the system's is preferred over one from a version manager.
venv_python() {
    local python
    for python in /usr/bin/python3 python3; do
        if "$python" -c 'import ensurepip, sys, venv; assert sys.version_info >= (3, 9)' 2>/dev/null; then
            command -v "$python"
            return 0
        fi
    done
    return 1
}

install_packages() {
    local missing=() run=()
    has_compiler || missing+=(gcc g++ libc6-dev)
    has_libclang || missing+=(libclang-dev)
    venv_python >/dev/null || missing+=(python3 python3-venv)
    # Python packages and crates are fetched over TLS.
    compgen -G '/etc/ssl/cert*' >/dev/null || missing+=(ca-certificates)
    [ ${#missing[@]} -eq 0 ] && return 0

    if ! command -v apt-get >/dev/null; then
        stop "a C++ compiler, libclang with its headers, and Python 3.9 with venv are needed." \
            "On Debian or Ubuntu these are missing: ${missing[*]}" "Install your system's packages for them, then run make again."
    fi
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            stop "some Debian packages are missing and installing them needs root." "Run: sudo apt-get install ${missing[*]}" "Then run make again."
        fi
        run=(sudo -n)
    fi
    say "installing Debian packages: ${missing[*]} (a minute or two)"
    export DEBIAN_FRONTEND=noninteractive
    mkdir -p "$target_dir"
    "${run[@]}" apt-get update -qq >"$target_dir/apt.log" 2>&1 || say "the package lists could not be refreshed; trying with the old ones"
    "${run[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >>"$target_dir/apt.log" 2>&1 ||
        stop "apt-get could not install ${missing[*]}." "Run: apt-get install ${missing[*]}" "What it said: $target_dir/apt.log"
    has_compiler && has_libclang && venv_python >/dev/null ||
        stop "the packages ${missing[*]} are installed, but something is still not found." "Is PATH set to use other tools than the system's?"
}

install_rust_target() {
    local minor
    command -v cargo >/dev/null && command -v rustc >/dev/null ||
        stop "the Rust toolchain is not installed." "Install rustup (https://rustup.rs), then Rust 1.$rust_min or newer: rustup toolchain install stable"
    minor=$(rustc --version | sed -E 's/^rustc 1\.([0-9]+)\..*/\1/')
    [ "$minor" -ge $rust_min ] 2>/dev/null ||
        stop "$(rustc --version) is too old; 1.$rust_min or newer is needed." "Run: rustup update stable"
    [ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" ] && return 0
    command -v rustup >/dev/null ||
        stop "this Rust toolchain cannot build plugins: it lacks the target wasm32-wasip2, and there is no rustup to add it." \
            "Install your distribution's package of the standard library for wasm32-wasip2, or use rustup."
    say "adding the Rust target wasm32-wasip2 (plugins are built for it)"
    rustup target add wasm32-wasip2 || stop "rustup could not add the target." "Run: rustup target add wasm32-wasip2"
}

# Rebuilt when the pinned versions or the Python change, otherwise left alone.
make_python_env() {
    local venv=$target_dir/python python stamp
    python=$(venv_python)
    stamp=$(printf '%s %s\n' "$("$python" --version)" "$(cksum <tests/requirements.txt)")
    [ -x "$venv/bin/python3" ] && [ "$(cat "$venv/stamp" 2>/dev/null)" = "$stamp" ] && return 0
    say "installing the tests' mail and webhook receivers (Python) into $venv"
    mkdir -p "$target_dir"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python3" -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt </dev/null ||
        stop "pip could not install tests/requirements.txt." "Is a package index reachable? The tests' receivers come from there."
    printf '%s\n' "$stamp" >"$venv/stamp"
}

install_packages
install_rust_target
make_python_env
say "ready: $(rustc --version | cut -d' ' -f1-2), $("$target_dir/python/bin/python3" --version), target directory $target_dir"
