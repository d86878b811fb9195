# Debian 12 packages, sourced by quickstart and check.
build_packages="build-essential cmake ninja-build pkg-config git libavformat-dev libavcodec-dev \
libavutil-dev libswscale-dev libswresample-dev libsndfile1-dev libfftw3-dev libhdf5-dev libyaml-dev \
libdnnl-dev libjansson-dev libpng-dev zlib1g-dev libcmocka-dev"
test_packages="ffmpeg clang libclang-rt-14-dev chromium python3-h5py hdf5-tools jq \
libopenmpi-dev openmpi-bin"

# Install what is missing; says what it does, needs root or sudo only when something is missing.
install_missing() {
    missing=""
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
    done
    [ -z "$missing" ] && return 0
    echo "installing:$missing"
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    if [ -n "$sudo" ] && ! command -v sudo >/dev/null; then
        echo "no sudo here; run as root: apt-get install --no-install-recommends$missing" >&2
        exit 5
    fi
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq &&
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        { echo "could not install:$missing" >&2; exit 5; }
}
