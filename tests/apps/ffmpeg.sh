#!/bin/bash
# ffmpeg: encodes a clip that it generates, with threads, and decodes it again.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
seconds=2
[[ ${APP_SIZE:-short} == short ]] || seconds=20
run() { ffmpeg -hide_banner -loglevel error -nostdin -y "$@"; }
run -f lavfi -i "testsrc=size=320x240:rate=25:duration=$seconds" -f lavfi -i "sine=frequency=440:duration=$seconds" \
  -c:v mpeg4 -flags +bitexact -threads 1 -c:a flac -fflags +bitexact clip.mkv
ffprobe -v error -show_entries stream=codec_name,width,height,nb_read_frames -count_frames -of csv clip.mkv
run -i clip.mkv -f framemd5 -threads 4 - | md5sum
run -i clip.mkv -vf scale=160:120,hflip -frames:v 10 -f image2 'frame%02d.png'
find . -name 'frame*.png' | wc -l
run -i clip.mkv -c:v libx264 -preset ultrafast -threads 4 -c:a aac out.mp4
ffprobe -v error -show_entries stream=codec_name -of csv out.mp4
run -f lavfi -i "testsrc=duration=1" -f rawvideo - | run -f rawvideo -s 320x240 -pix_fmt rgb24 -i - -f md5 -
