#!/bin/bash
# bare_debian.sh FOLDER [quickstart|check...] - what a newcomer sees: a Debian 12 with nothing but its
# base system in FOLDER (made with debootstrap when it is not there), a clean clone of this
# repository in it, and the given commands run inside, by default quickstart and then check.
# Needs root, debootstrap, 4 GB of disk and a Debian mirror (MIRROR=..., else the one this machine
# installs from).  Not part of ./check.
set -eu
[ $# -ge 1 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
repository=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
root=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- quickstart check
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -1)}
[ -x "$root/usr/bin/apt-get" ] || debootstrap --variant=minbase bookworm "$root" "$mirror"
leave() {
    for place in dev/shm dev/pts dev sys proc; do
        ! mountpoint -q "$root/$place" || umount "$root/$place"
    done
}
trap leave EXIT
mount -t proc proc "$root/proc"
mount --bind /sys "$root/sys"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
cp /etc/resolv.conf "$root/etc/resolv.conf"
rm -rf "$root/root/lockstep"
git clone -q "$repository" "$root/root/lockstep"
for command in "$@"; do
    echo "== $command"
    start=$SECONDS
    chroot "$root" env -i HOME=/root TERM=dumb PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c "cd /root/lockstep && ./$command"
    echo "== $command took $((SECONDS - start)) s"
done
