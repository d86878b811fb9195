#!/bin/bash
# media.sh LOCKSTEP - the reader against files another program wrote: containers, starts, edit
# lists, priming, rotation, variable frame rate, damage.  Skips without ffmpeg and jq.
set -u
lockstep=$1
command -v ffmpeg >/dev/null && command -v jq >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
failed=0
make() { ffmpeg -nostdin -v error -y "$@" || { echo "ffmpeg failed: $*"; failed=1; }; }
# expect FILE JQ-EXPRESSION: the expression must be true of the probe's answer
expect() {
    answer=$("$lockstep" probe --json "$dir/$1" 2>/dev/null)
    [ "$(jq -e "$2" <<<"$answer" 2>&1)" = true ] || {
        echo "FAIL $1: $2"
        jq -c . <<<"$answer"
        failed=1
    }
}
near() { echo "(($1) - ($2) | fabs) < $3"; }

v="-f lavfi -i testsrc2=size=96x64:rate=25:duration=2"
a="-f lavfi -i sine=frequency=440:sample_rate=48000:duration=2"
make $v $a -c:v libx264 -c:a aac "$dir/a.mp4"
expect a.mp4 '.video.frames == 50 and .audio.samples == 96000 and .audio.priming_samples == 1024'
expect a.mp4 '.audio_minus_video_start_ms == 0 and .video.end_s == 2 and .video.vfr == false'
make $v $a -c:v libx264 -c:a libopus "$dir/a.mkv"
# This muxer keeps the 6.5 ms pre-skip before 0 by moving the picture.
expect a.mkv ".video.frames == 50 and .audio.priming_samples == 312 and $(near .audio_minus_video_start_ms 0.0 7.1)"
make $v $a -c:v libvpx-vp9 -c:a libopus "$dir/a.webm"
expect a.webm ".video.frames == 50 and $(near .audio_minus_video_start_ms 0.0 7.1)"
make $v $a -c:v libx264 -c:a pcm_s16le "$dir/a.mov"
expect a.mov '.audio.samples == 96000 and .audio.start_s == 0 and .audio.priming_samples == 0'
make $v $a -c:v libx264 -c:a mp2 "$dir/a.ts"
expect a.ts ".video.frames == 50 and $(near .video.start_s 0.0 0.05)"
make $v $a -c:v mpeg4 -c:a libmp3lame "$dir/a.avi"
expect a.avi '.video.frames == 50 and .audio.priming_unsignalled == true and (.warnings | length) > 0'
make $v $a -c:v libtheora -c:a libvorbis "$dir/a.ogg"
expect a.ogg '.video.frames == 50 and .audio.start_s == 0'

# The rates of television, exactly.
make -f lavfi -i testsrc2=size=96x64:rate=30000/1001:duration=1.001 -c:v libx264 "$dir/ntsc.mp4"
expect ntsc.mp4 ".video.frames == 30 and $(near .video.end_s 1.001 1e-9) and .video.vfr == false"
make -f lavfi -i testsrc2=size=96x64:rate=30000/1001:duration=1.001 -c:v libx264 "$dir/ntsc.mkv"
expect ntsc.mkv ".video.frames == 30 and $(near .video.end_s 1.001 2e-3) and .video.vfr == false"

# Sound that starts later, sound that starts earlier, a cut by edit list.
make $v -itsoffset 0.35 $a -c:v libx264 -c:a pcm_s16le "$dir/late.mov"
expect late.mov "$(near .audio_minus_video_start_ms 350.0 0.1)"
make -itsoffset 0.36 $v $a -vsync vfr -c:v libx264 -c:a aac "$dir/early.mp4"
expect early.mp4 "$(near .audio_minus_video_start_ms -360.0 0.1)"
# MP2 has no priming signal; its encoder's 481 samples lie before the first time instead.
make -itsoffset 0.36 $v $a -c:v libx264 -c:a mp2 "$dir/early.ts"
expect early.ts "$(near .audio_minus_video_start_ms -370.0 0.1)"
make -ss 0.5 -i "$dir/a.mp4" -c copy "$dir/cut.mp4"
expect cut.mp4 "$(near .audio_minus_video_start_ms 0.0 25)"' and .video.frames < 50'

# Variable frame rate: every third frame missing.
make $v -vf "select=mod(n\,3)" -vsync vfr -c:v libx264 "$dir/vfr.mp4"
expect vfr.mp4 '.video.vfr == true and .video.shortest_frame_s == 0.04 and .video.longest_frame_s == 0.08'

# Rotation by the container, deep pictures, cover art, a picture alone.
make -i "$dir/a.mp4" -c copy -metadata:s:v rotate=90 "$dir/turned.mp4"
expect turned.mp4 '.video.width == 64 and .video.height == 96 and .video.rotation_deg % 180 == 90'
make $v -c:v libx264 -pix_fmt yuv420p10le "$dir/deep.mp4"
expect deep.mp4 '.video.frames == 50 and .video.pixel_format == "yuv420p10le"'
make -f lavfi -i testsrc2=size=96x64 -frames:v 1 "$dir/one.png"
expect one.png '.video.frames == 1 and .audio == null'
make $a -i "$dir/one.png" -map 0 -map 1 -c:a libmp3lame -c:v png -disposition:v attached_pic "$dir/art.mp3"
expect art.mp3 ".video == null and $(near .audio.start_s 0.0 1e-6) and $(near .audio.samples 96000 1200)"

# Sound alone, by the other library.
for kind in wav flac ogg aiff au; do
    make -f lavfi -i sine=frequency=440:sample_rate=44100:duration=1 "$dir/s.$kind"
    expect s.$kind '.audio.samples == 44100 and .audio.rate_hz == 44100 and .video == null'
done

# Damage: one sentence, the right code, nothing hangs.
bad() { # FILE CODE WORDS
    said=$("$lockstep" probe "$dir/$1" 2>&1 >/dev/null)
    code=$?
    [ $code = "$2" ] && grep -qi -- "$3" <<<"$said" && [ "$(wc -l <<<"$said")" = 1 ] || {
        echo "FAIL $1: code $code, said: $said"
        failed=1
    }
}
: >"$dir/empty.mp4"
bad empty.mp4 1 "is empty"
bad missing.mp4 1 "cannot open"
mkdir "$dir/folder.mp4"
bad folder.mp4 1 "is a folder"
echo "this is a letter, not a film" >"$dir/letter.mp4"
bad letter.mp4 1 "not a media file"
head -c 9000 "$dir/a.mp4" >"$dir/cut_off.mp4"
bad cut_off.mp4 1 "not a media file"
printf '#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n%s\n#EXT-X-ENDLIST\n' "$dir/a.ts" >"$dir/list.m3u8"
bad list.m3u8 1 "list.m3u8"
printf "ffconcat version 1.0\nfile '%s'\n" "$dir/a.mp4" >"$dir/list.ffconcat"
bad list.ffconcat 1 "list.ffconcat"
make -i "$dir/a.mp4" -c copy -movflags +faststart "$dir/fast.mp4"
head -c $(($(stat -c %s "$dir/fast.mp4") * 6 / 10)) "$dir/fast.mp4" >"$dir/short.mp4"
expect short.mp4 '.video.frames > 5 and .video.frames < 50 and (.warnings | length) > 0'
[ "$failed" = 0 ] && echo "media: all as expected"
exit $failed
