#!/bin/bash
# media.sh FUZZ_MEDIA N [FIRST] - N mutations of small clips in every container the writer and
# another program make.  Skips without ffmpeg.
set -eu
command -v ffmpeg >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
v="-f lavfi -i testsrc2=size=64x48:rate=12:duration=0.5"
a="-f lavfi -i sine=frequency=440:sample_rate=16000:duration=0.5"
make() { ffmpeg -nostdin -v error -y $v $a "$@"; }
make -c:v libx264 -c:a aac "$dir/a.mp4"
make -c:v libx264 -c:a aac -movflags +faststart+frag_keyframe "$dir/b.mp4"
make -c:v libx264 -c:a pcm_s16le "$dir/a.mov"
make -c:v ffv1 -c:a flac "$dir/a.mkv"
make -c:v libvpx-vp9 -c:a libopus "$dir/a.webm"
make -c:v mpeg2video -c:a mp2 -ar 44100 -r 25 "$dir/a.ts"
make -c:v mpeg4 -c:a libmp3lame "$dir/a.avi"
make -c:v libtheora -c:a libvorbis "$dir/a.ogg"
make -c:v mpeg1video -c:a mp2 -ar 44100 -r 25 "$dir/a.mpg"
make -c:v flv -c:a libmp3lame -ar 22050 "$dir/a.flv"
for kind in wav flac ogg aiff au mp3 m4a; do
    ffmpeg -nostdin -v error -y $a "$dir/s.$kind"
done
ffmpeg -nostdin -v error -y $v -frames:v 3 "$dir/v.gif"
"$1" "$dir" -n "$2" -first "${3:-0}"
