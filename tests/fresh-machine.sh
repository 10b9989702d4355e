#!/usr/bin/env bash
# Prove that a stranger with a new Debian 12 machine needs nothing but `make`: by hand, as root, not in CI.
#
#   tests/fresh-machine.sh [make target ...]     default: demo test
#
# Makes a minimal Debian 12 with debootstrap, clones this repository's HEAD into it (what is not committed is not tested),
# and runs the targets there. Only the Rust toolchain comes from this machine: ~/.rustup and ~/.cargo/bin read-only and the
# downloaded crates. Package sources, certificates and pip settings are copied from this machine's configuration.
# All mounts live in a private mount namespace and every process in a private process namespace, so nothing is left
# behind, even when it is interrupted. KEEP=1 keeps the machine and prints where it is.
set -euo pipefail
home=/home/new # of the person who sits down at the new machine
repo=$(cd "$(dirname "$0")/.." && pwd)
say() { printf '\n==> %s\n' "$*"; }

# Runs inside the namespaces: mounts what is shared, then the targets in the new machine.
run_inside() {
    local root=$1 cargo_home=${CARGO_HOME:-$HOME/.cargo} rustup_home=${RUSTUP_HOME:-$HOME/.rustup} target start
    shift
    share() { # path inside, path here, options
        mkdir -p "$root$1"
        mount --bind "$2" "$root$1"
        [ -z "${3:-}" ] || mount -o "remount,bind,$3" "$root$1"
    }
    share $home/.rustup "$rustup_home" ro
    share $home/.cargo/bin "$cargo_home/bin" ro
    if [ -d "$cargo_home/registry" ]; then share $home/.cargo/registry "$cargo_home/registry"; fi
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"

    for target in "$@"; do
        say "make $target"
        start=$SECONDS
        # A clean environment: what the machine is told is what stands here.
        chroot "$root" /usr/bin/env -i HOME=$home LANG=C.UTF-8 TERM="${TERM:-dumb}" PATH=$home/.cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            SSL_CERT_FILE=/etc/ssl/this-machine.crt PIP_CERT=/etc/ssl/this-machine.crt CARGO_HTTP_CAINFO=/etc/ssl/this-machine.crt \
            RUSTUP_AUTO_INSTALL=0 RUSTUP_TOOLCHAIN="$(rustup show active-toolchain | cut -d' ' -f1)" \
            ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} ${no_proxy:+no_proxy="$no_proxy"} \
            ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} ${PIP_DEFAULT_TIMEOUT:+PIP_DEFAULT_TIMEOUT="$PIP_DEFAULT_TIMEOUT"} \
            make -C $home/bugle "$target" </dev/null
        say "make $target took $((SECONDS - start)) s on the new machine"
    done
}

# The address of this machine's own Debian mirror.
mirror() {
    {
        sed -n 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p' /etc/apt/sources.list.d/*.sources
        sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^[:space:]]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
    } 2>/dev/null | grep -m1 '/debian/*$'
}

copy_configuration() {
    local root=$1 path bundle
    for path in sources.list sources.list.d apt.conf apt.conf.d auth.conf auth.conf.d keyrings preferences.d trusted.gpg trusted.gpg.d; do
        rm -rf "${root:?}/etc/apt/$path"
        if [ -e "/etc/apt/$path" ]; then
            cp -a "/etc/apt/$path" "$root/etc/apt/$path"
        fi
    done
    mkdir -p "$root/usr/share/keyrings" "$root$home/.cargo"
    cp -a /usr/share/keyrings/. "$root/usr/share/keyrings/"
    for path in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
        if [ -e "$path" ]; then cp -L "$path" "$root$path"; fi
    done
    for path in config.toml config; do
        if [ -f "${CARGO_HOME:-$HOME/.cargo}/$path" ]; then cp "${CARGO_HOME:-$HOME/.cargo}/$path" "$root$home/.cargo/$path"; fi
    done
    bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    cp -L "$bundle" "$root/etc/ssl/this-machine.crt"
}

if [ "${1:-}" = --inside ]; then
    shift
    run_inside "$@"
    exit 0
fi

[ "$(id -u)" -eq 0 ] || { echo "debootstrap, chroot and mount need root: run this as root" >&2; exit 1; }
if ! command -v debootstrap >/dev/null; then
    say "installing debootstrap"
    apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
fi
[ -n "$(mirror)" ] || { echo "no Debian mirror found in /etc/apt; add one to sources.list" >&2; exit 1; }

root=$(mktemp -d "${TMPDIR:-/var/tmp}/bugle-fresh.XXXXXX")
chmod 755 "$root" # apt drops its rights while it downloads
finish() {
    if [ -n "${KEEP:-}" ]; then
        say "kept: $root"
    else
        # The mounts went with their namespace; --one-file-system is the belt to those braces.
        rm -rf --one-file-system "$root"
    fi
}
trap finish EXIT

say "installing a minimal Debian 12 into $root"
debootstrap --variant=minbase --include=make,ca-certificates bookworm "$root" "$(mirror)" >"$root.log" 2>&1 ||
    { tail -20 "$root.log" >&2; exit 1; }
rm -f "$root.log"
mkdir -p "$root/etc/ssl"
copy_configuration "$root"

say "cloning $(git -C "$repo" log -1 --format='%h (%s)')"
git clone --quiet --no-hardlinks "$repo" "$root$home/bugle"

[ $# -gt 0 ] || set -- demo test
start=$SECONDS
unshare --mount --pid --fork --kill-child --propagation private "$repo/tests/fresh-machine.sh" --inside "$root" "$@"
say "all of it took $((SECONDS - start)) s: make $*"
