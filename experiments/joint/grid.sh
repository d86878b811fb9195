#!/bin/bash
# grid.sh OUT.png CLIP... - clips as rows: frames above the spectrogram of their sound, on one time axis.
set -eu
[ $# -ge 2 ] || { sed -n '2s/^# //p' "$0"; exit 2; }
out=$1
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
i=0
for clip; do
    i=$((i + 1))
    seconds=$(ffprobe -v error -show_entries format=duration -of csv=p=0 "$clip")
    ffmpeg -v error -y -i "$clip" -filter_complex "
[0:v]fps=16/$seconds:round=down,scale=80:80:flags=neighbor,tile=16x1:nb_frames=16[frames];
[0:a]showspectrumpic=s=1280x64:legend=0:color=magma:drange=80[sound];
[frames][sound]vstack,pad=1280:150:0:0:black" -frames:v 1 "$(printf '%s/%03d.png' "$tmp" $i)"
done
if [ $i = 1 ]; then
    cp "$tmp/001.png" "$out"
else
    ffmpeg -v error -y $(printf -- '-i %s ' "$tmp"/*.png) -filter_complex "vstack=$i,format=rgb24" -frames:v 1 "$out"
fi
