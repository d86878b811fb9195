#!/bin/bash
# corpus.sh FOLDER [LOCKSTEP] - the data that the shipped tokenizers are trained and measured on: speech,
# music and pictures out of Debian packages (licences in their copyright files, kept in FOLDER) and
# rendered worlds, as datasets.  Needs apt-get (packages are fetched, not installed), ffmpeg, 4 GB.
#
#     speech.h5 music.h5 worlds16.h5              16 kHz mono, for training
#     speech_held.h5 music_held.h5 held/*.flac    one file in 20, and one track in 8, never trained on
#     pictures.h5 worlds.h5                       128x128, for training
#     pictures_held.h5 held/*.mkv                 one picture in 6
set -eu
[ $# -ge 1 ] || { sed -n '2,11s/^# \?//p' "$0"; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
lockstep=$(realpath "${2:-build/lockstep}")
packages="asterisk-core-sounds-en-g722 asterisk-core-sounds-fr-g722 asterisk-core-sounds-es-g722
    asterisk-core-sounds-it-g722 frozen-bubble-data warzone2100-music mate-backgrounds
    lomiri-wallpapers-16.04 lomiri-wallpapers-20.04 ukui-wallpapers"
cd "$out"
mkdir -p deb files held licences
(cd deb && for p in $packages; do ls "$p"_* >/dev/null 2>&1 || apt-get download "$p"; done)
[ -d files/usr ] || for d in deb/*.deb; do dpkg-deb -x "$d" files; done
for p in $packages; do cp "files/usr/share/doc/$p/copyright" "licences/$p"; done

# name FILE... -> name.h5 and name_held.h5; every n-th file is held back
sounds() { # NAME N FILE...
    name=$1 n=$2
    shift 2
    [ -f "$name.h5" ] && [ -f "${name}_held.h5" ] && return
    rm -rf "tmp_$name" && mkdir -p "tmp_$name/train" "tmp_$name/held"
    i=0
    for file; do
        i=$((i + 1))
        part=train
        [ $((i % n)) != 0 ] || part=held
        ffmpeg -v error -y -i "$file" -ac 1 -ar 16000 "$(printf 'tmp_%s/%s/%05d.flac' "$name" $part $i)"
    done
    "$lockstep" pack "tmp_$name/train" --size none --seconds 30 -o "$name.h5"
    "$lockstep" pack "tmp_$name/held" --size none --seconds 30 -o "${name}_held.h5"
    ls "tmp_$name"/held/*.flac | sed "s/^/file '/; s/$/'/" >list
    ffmpeg -v error -y -f concat -safe 0 -i list -t 60 "held/$name.flac"
    rm -rf "tmp_$name" list
}
mapfile -t speech < <(find files -name '*.g722' | sort)
mapfile -t music < <(find files -name '*.opus' -o -name 'frozen-mainzik*.ogg' -o -name 'introzik.ogg' | sort)
sounds speech 20 "${speech[@]}"
sounds music 8 "${music[@]}"

# Photographs and drawings under a camera that pans, zooms and turns.
pictures() {
    [ -f pictures.h5 ] && [ -f pictures_held.h5 ] && return
    at=files/usr/share/backgrounds # those of mate first: which are held back stays as it is when others are added
    mapfile -t all < <(for part in "$at/mate" "$at -maxdepth 1"; do
        find $part -type f \( -name '*.jpg' -o -name '*.png' \) -size +60k | sort
    done)
    rm -rf tmp_pictures && mkdir -p tmp_pictures/train tmp_pictures/held
    RANDOM=7
    i=0
    for file in "${all[@]}"; do
        i=$((i + 1))
        part=train
        [ $((i % 6)) != 0 ] || part=held
        ffmpeg -v error -y -i "$file" -vf 'scale=720:540:force_original_aspect_ratio=increase,crop=720:540' \
            -frames:v 1 tmp_pictures/still.png
        for k in 1 2 3 4 5 6 7 8; do
            x=$((RANDOM % 350)) y=$((RANDOM % 200)) dx=$((RANDOM % 7 - 3)) dy=$((RANDOM % 5 - 2))
            zoom=$((RANDOM % 40)) turn=$((RANDOM % 21 - 10)) side=$((140 + RANDOM % 260))
            ffmpeg -v error -y -loop 1 -framerate 25 -t 2.56 -i tmp_pictures/still.png -vf \
"rotate=a=$turn/1000*n:bilinear=1,zoompan=z=(540/$side)*(1+$zoom/4000*on):x=$x+$dx*on:y=$y+$dy*on:d=1:s=256x256:fps=25,scale=128:128:flags=area" \
                -c:v ffv1 "$(printf 'tmp_pictures/%s/%03d_%d.mkv' $part $i $k)"
        done
    done
    "$lockstep" pack tmp_pictures/train --rate 0 --size 128x128 -o pictures.h5
    "$lockstep" pack tmp_pictures/held --rate 0 --size 128x128 -o pictures_held.h5
    cp tmp_pictures/held/*_[12].mkv held/
    rm -rf tmp_pictures
}
pictures

# The three worlds, with and without clutter, and voices whose phones are known.
for world in impacts talker dancer; do
    "$lockstep" pack --world $world --count 400 --seconds 2.56 --size 128x128 --seed 1 -o worlds/$world.h5
    "$lockstep" pack --world $world --count 100 --seconds 2.56 --size 128x128 --seed 2 --clutter --camera --noise \
        -o worlds/${world}_rough.h5
    "$lockstep" pack --world $world --count 24 --seconds 2.56 --size 128x128 --seed 900 -o worlds_held_$world.h5
done
du -sh ./*.h5 worlds held
