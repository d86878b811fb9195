#!/bin/sh
# Who may include whom: kernels <- {audio_codec, video_vae, align} <- av <- av/cli.
# Third-party headers appear in one place each.
cd "$1" || exit 1
bad=0
forbid() { # folder, pattern of forbidden includes, reason
    found=$(grep -rnE "#include [<\"]($2)" --include='*.[ch]' --include='*.cu' --include='*.cpp' "$1" 2>/dev/null)
    if [ -n "$found" ]; then
        echo "$3:"
        echo "$found"
        bad=1
    fi
}
elsewhere() { # path prefix where it is allowed, pattern, reason
    found=$(grep -rnE "#include [<\"]($2)" --include='*.[ch]' --include='*.cu' --include='*.cpp' \
        kernels audio_codec video_vae align av experiments tests 2>/dev/null | grep -v "^$1")
    if [ -n "$found" ]; then
        echo "$3:"
        echo "$found"
        bad=1
    fi
}
forbid kernels 'audio_codec/|video_vae/|align/|av/|experiments/' 'kernels includes nothing above it'
forbid audio_codec 'video_vae/|align/|av/|experiments/' 'audio_codec includes only kernels'
forbid video_vae 'audio_codec/|align/|av/|experiments/' 'video_vae includes only kernels'
forbid align 'audio_codec/|video_vae/|av/|experiments/' 'align includes only kernels'
forbid experiments 'audio_codec/|video_vae/|align/|av/' 'worlds include only kernels'
elsewhere 'av/ffmpeg/' 'libav|libsw' 'FFmpeg headers outside av/ffmpeg'
elsewhere 'av/sndfile.c' 'sndfile' 'libsndfile outside av/sndfile.c'
elsewhere 'av/hdf5/' 'hdf5\.h|hdf5_hl' 'HDF5 outside av/hdf5'
elsewhere 'av/config_yaml.c' 'yaml\.h' 'libyaml outside av/config_yaml.c'
elsewhere 'av/png.c' 'png\.h' 'libpng outside av/png.c'
elsewhere 'av/import/zip.c' 'zlib\.h' 'zlib outside av/import/zip.c'
elsewhere 'kernels/fft.c' 'fftw3' 'FFTW outside kernels/fft.c'
elsewhere 'kernels/comm_mpi.c' 'mpi\.h' 'MPI outside kernels/comm_mpi.c'
elsewhere 'kernels/cpu/' 'oneapi|dnnl' 'oneDNN outside kernels/cpu'
elsewhere 'kernels/cuda/' 'cuda|cublas|cudnn|nccl' 'CUDA outside kernels/cuda'
elsewhere 'align/farneback.cpp' 'opencv' 'OpenCV outside its shim'
exit $bad
